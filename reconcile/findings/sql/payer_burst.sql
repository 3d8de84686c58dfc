-- One payer's final payments for one resource, in tumbling windows of chain time.
SELECT token, toString(anchor.4) AS method, authorizer, anchor.5 AS nonce, '' AS detail, '' AS other, toNullable(total) AS at_risk,
       concat(toString(payments), ' payments for ', resource, ' from ', formatDateTime(first, '%Y-%m-%dT%H:%i:%SZ', 'UTC'), ' to ', formatDateTime(last, '%Y-%m-%dT%H:%i:%SZ', 'UTC')) AS evidence
FROM
(
    SELECT token, authorizer, pay_to, resource, intDiv(toUnixTimestamp(settled_at), {payer_burst_window:UInt32}) AS window,
           count() AS payments, sum(assumeNotNull(gross)) AS total, min(settled_at) AS first, max(settled_at) AS last,
           min(tuple(settled_at, block_number, log_index, method, nonce)) AS anchor
    FROM payments FINAL
    WHERE chain_id = {chain:UInt64} AND finality = 'final' AND gross IS NOT NULL
    GROUP BY token, authorizer, pay_to, resource, window
    HAVING payments >= {payer_burst:UInt64}
)
