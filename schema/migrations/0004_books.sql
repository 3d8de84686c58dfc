-- Books: what people read. They are views over judged payments, so they cannot disagree with them.

CREATE VIEW IF NOT EXISTS verdicts AS
SELECT chain_id, lower(hex(token)) AS token_hex, decimals, verdict, detail, finality, count() AS payments, sum(ifNull(gross, 0)) AS gross_units
FROM payments FINAL
GROUP BY chain_id, token, decimals, verdict, detail, finality;

CREATE VIEW IF NOT EXISTS revenue AS
SELECT
    toStartOfHour(settled_at) AS hour,
    chain_id, token, decimals, facilitator, pay_to, resource, resource_provenance, finality,
    count()                                                  AS payments,
    uniqExact(authorizer)                                    AS payers,
    sum(assumeNotNull(gross))                                AS gross_units,
    sumIf(assumeNotNull(gross), verdict = 'unlogged')        AS unlogged_units,
    sum(ifNull(net, 0))                                      AS net_units,
    countIf(net IS NULL)                                     AS net_unclear
FROM payments FINAL
WHERE kind = 'charge' AND gross IS NOT NULL AND NOT has(findings, 'wrong_token') -- anybody can issue a token
  AND verdict IN ('matched', 'amount_mismatch', 'transaction_mismatch', 'failed_but_settled', 'unlogged')
GROUP BY hour, chain_id, token, decimals, facilitator, pay_to, resource, resource_provenance, finality;

CREATE VIEW IF NOT EXISTS exceptions AS
SELECT
    payment_id, chain_id, token, decimals, verdict, detail, finality, facilitator, resource, pay_to, authorizer,
    gross, claimed, required, transaction, claim_transaction, first_seen, settled_at, findings
FROM payments FINAL
WHERE verdict IN ('ambiguous', 'recipient_mismatch', 'amount_mismatch', 'transaction_mismatch', 'failed_but_settled', 'reverted', 'missing_onchain')
   OR (verdict = 'unlogged' AND detail NOT IN ('dust', 'no_log'))
   OR (verdict = 'canceled' AND pid IN (SELECT l.pid FROM links AS l FINAL INNER JOIN claims AS c ON c.claim_id = l.claim_id WHERE c.outcome = 'success'));
