SELECT *
FROM (
    SELECT *, row_number() OVER (PARTITION BY auction ORDER BY price DESC) AS place FROM bid
) b
WHERE place <= 10
