-- A payTo's final revenue of one whole day (UTC, chain time), by payer. Own money is left out: it says so itself.
WITH of_payer AS
(
    SELECT token, pay_to, authorizer, toDate(settled_at, 'UTC') AS day, count() AS payments, sum(assumeNotNull(gross)) AS total,
           min(tuple(settled_at, block_number, log_index, method, nonce)) AS anchor
    FROM payments FINAL
    WHERE chain_id = {chain:UInt64} AND finality = 'final' AND gross IS NOT NULL AND kind = 'charge'
      AND verdict IN ('matched', 'amount_mismatch', 'transaction_mismatch', 'failed_but_settled', 'unlogged') AND NOT hasAny(findings, ['self_payment', 'wrong_token'])
      AND settled_at < toStartOfDay(toDateTime({final_time:UInt32}, 'UTC'))
    GROUP BY token, pay_to, authorizer, day
)
SELECT p.token, toString(p.anchor.4) AS method, p.authorizer, p.anchor.5 AS nonce, '' AS detail, '' AS other, toNullable(p.total) AS at_risk,
       concat(toString(p.payments), ' of ', toString(a.payments), ' payments and ', toString(p.total), ' of ', toString(a.total), ' to 0x', lower(hex(p.pay_to)), ' on ', toString(p.day)) AS evidence
FROM of_payer AS p
INNER JOIN (SELECT token, pay_to, day, sum(payments) AS payments, sum(total) AS total FROM of_payer GROUP BY token, pay_to, day) AS a
ON p.token = a.token AND p.pay_to = a.pay_to AND p.day = a.day
WHERE a.payments >= {concentration_payments:UInt64} AND p.total > 0 AND p.total * 100 >= a.total * {concentration_share:UInt64}
