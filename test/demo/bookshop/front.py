"""The front page: asks details and reviews, and makes one page of both."""

import os

from shop import call, knob, serve

DETAILS = os.environ.get("DETAILS", "http://details:9080")
REVIEWS = os.environ.get("REVIEWS", "http://reviews:9080")


def stars(review):
    rating = review.get("rating")
    return f"{'*' * rating['stars']:5} ({rating['color']})" if rating and "stars" in rating else "no stars"


def page(h, book):
    headers = h.handed_on()
    status, details = call(f"{DETAILS}/details/{book or '0'}", headers)
    review_status, reviews = call(f"{REVIEWS}/reviews/{book or '0'}", headers)
    lines = [f"{knob('GREETING')} to the bookshop!"]
    if status == 200 and details:
        lines.append(f"  {details['title']}, by {details['author']} ({details['year']}, {details['pages']} pages)")
    else:
        lines.append(f"  The book's details cannot be shown just now ({status}).")
    if review_status == 200 and reviews:
        lines.append(f"  Reviews ({reviews['version']}):")
        lines += [f"    {r['reviewer']}: {r['text']}  [{stars(r)}]" for r in reviews["reviews"]]
    else:
        lines.append(f"  Reviews cannot be shown just now ({review_status}).")
    h.answer(200, "\n".join(lines) + "\n", "text/plain; charset=utf-8")


serve(9080, {"/productpage": page, "/": page})
