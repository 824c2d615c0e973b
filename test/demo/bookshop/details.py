"""Facts about a book."""

from shop import serve


def details(h, book):
    h.answer(200, {"id": book or "0", "title": "The Comedy of Errors", "author": "William Shakespeare", "year": 1595,
                   "pages": 200, "publisher": "PublisherA", "isbn": "1234567890"})


serve(9080, {"/details": details})
