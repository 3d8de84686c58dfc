-- What a payer paid to a payTo on one day (UTC, chain time), and what of it came back on that day: from the payTo itself, or over one or two others in between. Money moves by plain
-- Transfers and by settlements. What comes back in the amount of one payment is a refund, which the books show as such. Over an address that deals with many, such as an exchange, money does
-- not come back: nobody can say whose it is.
--
-- A name in WITH is read again wherever it is used: the query is written so that moves are read about a dozen times.
WITH
paid AS
(
    SELECT token, authorizer AS payer, pay_to, toDate(settled_at, 'UTC') AS day, count() AS payments, sum(assumeNotNull(gross)) AS total,
           groupUniqArray(assumeNotNull(gross)) AS amounts, min(settled_at) AS first
    FROM payments FINAL
    WHERE chain_id = {chain:UInt64} AND finality = 'final' AND gross > 0 AND authorizer != pay_to
      AND verdict IN ('matched', 'amount_mismatch', 'transaction_mismatch', 'failed_but_settled', 'unlogged')
    GROUP BY token, payer, pay_to, day
    HAVING payments >= {circular_payments:UInt64}
),
moves AS
(
    SELECT toDate(block_time, 'UTC') AS day, token, sender AS source, recipient AS target, block_time AS at, amount FROM transfers FINAL
    WHERE chain_id = {chain:UInt64} AND block_number <= {final:UInt64} AND amount > 0 AND sender != recipient AND toDate(block_time, 'UTC') IN (SELECT day FROM paid)
      AND block_hash NOT IN (SELECT hash FROM blocks FINAL WHERE chain_id = {chain:UInt64} AND NOT canonical AND number <= {final:UInt64})
    UNION ALL
    SELECT toDate(block_time, 'UTC'), token, authorizer, pay_to, block_time, amount FROM settlements FINAL
    WHERE chain_id = {chain:UInt64} AND block_number <= {final:UInt64} AND pairing = 'paired' AND amount > 0 AND authorizer != pay_to AND toDate(block_time, 'UTC') IN (SELECT day FROM paid)
      AND block_hash NOT IN (SELECT hash FROM blocks FINAL WHERE chain_id = {chain:UInt64} AND NOT canonical AND number <= {final:UInt64})
),
edges AS (SELECT day, token, source, target, sum(amount) AS total, max(at) AS last FROM moves GROUP BY day, token, source, target),
hubs AS
(
    SELECT day, token, address
    FROM (SELECT day, token, arrayJoin([(source, target), (target, source)]) AS pair, pair.1 AS address, pair.2 AS other FROM edges)
    GROUP BY day, token, address HAVING uniqExact(other) > {circular_hub:UInt64}
),
returned AS
(
    SELECT p.day AS day, p.token AS token, p.payer AS payer, p.pay_to AS pay_to, 'returned' AS detail, sum(m.amount) AS back,
           any(concat('0x', lower(hex(p.pay_to)), ' to 0x', lower(hex(p.payer)))) AS way
    FROM paid AS p INNER JOIN moves AS m ON m.day = p.day AND m.token = p.token AND m.source = p.pay_to AND m.target = p.payer
    WHERE m.at >= p.first AND NOT has(p.amounts, m.amount)
    GROUP BY day, token, payer, pay_to
    UNION ALL
    SELECT p.day, p.token, p.payer, p.pay_to, 'over_one', sum(least(a.total, b.total)),
           concat('0x', lower(hex(p.pay_to)), ' to 0x', lower(hex(min(a.target))), ' to 0x', lower(hex(p.payer)))
    FROM paid AS p
    INNER JOIN edges AS a ON a.day = p.day AND a.token = p.token AND a.source = p.pay_to
    INNER JOIN edges AS b ON b.day = p.day AND b.token = p.token AND b.source = a.target AND b.target = p.payer
    WHERE a.target != p.payer AND a.last >= p.first AND b.last >= p.first
      AND a.target NOT IN (SELECT pay_to FROM paid) AND (a.day, a.token, a.target) NOT IN hubs
    GROUP BY p.day, p.token, p.payer, p.pay_to
    UNION ALL
    SELECT p.day, p.token, p.payer, p.pay_to, 'over_two', max(least(a.total, b.total, c.total)),
           concat('0x', lower(hex(p.pay_to)), ' to 0x', lower(hex(min((a.target, b.target)).1)), ' to 0x', lower(hex(min((a.target, b.target)).2)), ' to 0x', lower(hex(p.payer)))
    FROM paid AS p
    INNER JOIN edges AS a ON a.day = p.day AND a.token = p.token AND a.source = p.pay_to
    INNER JOIN edges AS b ON b.day = p.day AND b.token = p.token AND b.source = a.target
    INNER JOIN edges AS c ON c.day = p.day AND c.token = p.token AND c.source = b.target AND c.target = p.payer
    WHERE a.target != p.payer AND b.target NOT IN (p.payer, p.pay_to) AND a.last >= p.first AND b.last >= p.first AND c.last >= p.first
      AND b.target NOT IN (SELECT pay_to FROM paid) AND (a.day, a.token, a.target) NOT IN hubs AND (b.day, b.token, b.target) NOT IN hubs
    GROUP BY p.day, p.token, p.payer, p.pay_to
),
circles AS
(
    SELECT p.day AS day, p.token AS token, p.payer AS payer, p.pay_to AS pay_to, p.payments AS payments, p.total AS total, r.detail AS detail, r.back AS back, r.way AS way
    FROM paid AS p INNER JOIN returned AS r ON r.day = p.day AND r.token = p.token AND r.payer = p.payer AND r.pay_to = p.pay_to
    WHERE r.back * 100 >= p.total * {circular_share:UInt64}
    ORDER BY day, token, payer, pay_to, indexOf(['returned', 'over_one', 'over_two'], detail)
    LIMIT 1 BY day, token, payer, pay_to
)
SELECT x.token, toString(x.method) AS method, x.authorizer, x.nonce, c.detail AS detail, concat('0x', lower(hex(x.pay_to))) AS other, x.gross AS at_risk,
       concat('of ', toString(c.total), ' in ', toString(c.payments), ' payments on ', toString(c.day), ' ', toString(c.back), ' came back: 0x', lower(hex(c.payer)), ' to ', c.way) AS evidence
FROM payments AS x FINAL
INNER JOIN circles AS c ON x.token = c.token AND x.authorizer = c.payer AND x.pay_to = c.pay_to
WHERE x.chain_id = {chain:UInt64} AND x.finality = 'final' AND x.gross > 0 AND toDate(x.settled_at, 'UTC') = c.day
  AND x.verdict IN ('matched', 'amount_mismatch', 'transaction_mismatch', 'failed_but_settled', 'unlogged')
