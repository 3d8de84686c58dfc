-- An hour names the marks that it was counted after by their reason alone: writers come and go.

ALTER TABLE book_revenue_hours COMMENT COLUMN marks 'of the book_marks that it was counted after: sum of seq by reason';
