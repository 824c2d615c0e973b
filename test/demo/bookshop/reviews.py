"""What readers say. v1 has words only, v2 adds ratings in black, v3 in red."""

import os

from shop import call, knob, serve

RATINGS = os.environ.get("RATINGS", "http://ratings:9080")
COLORS = {"v2": "black", "v3": "red"}


def reviews(h, book):
    version = knob("VERSION")
    words = [{"reviewer": "Reviewer1", "text": "An extremely entertaining play!"},
             {"reviewer": "Reviewer2", "text": "Absolutely fun and entertaining."}]
    if version in COLORS:
        status, ratings = call(f"{RATINGS}/ratings/{book or '0'}", h.handed_on())
        for w in words:
            w["rating"] = ({"stars": ratings["ratings"][w["reviewer"]], "color": COLORS[version]} if status == 200 and ratings
                           else {"error": f"ratings cannot be shown just now ({status})"})
    h.answer(200, {"id": book or "0", "version": version, "reviews": words})


serve(9080, {"/reviews": reviews})
