SELECT
    auction, bidder, price, channel, url, b.date_time AS bid_time, b.extra AS bid_extra,
    item_name, description, initial_bid, reserve, a.date_time, expires, seller, category, a.extra
FROM bid b JOIN auction a ON b.auction = a.id
WHERE a.category = 10
