-- Causes once more: of all payments only those with a finding are looked up.

CREATE OR REPLACE VIEW causes AS
SELECT kind, cause, detail, severity, chain_id, token, decimals, facilitator,
       if(resource IN ('', 'unattributed', '(echo, unrecognised)', '(other)'), concat('0x', lower(hex(pay_to))), if(domain(resource) = '', resource, domain(resource))) AS place,
       resource, pay_to, error_class, at_risk, at, payment_id, nonce, evidence
FROM
(
    SELECT 'finding' AS kind, f.rule AS cause, f.detail AS detail, f.severity AS severity, f.chain_id AS chain_id, f.token AS token, p.decimals AS decimals, p.facilitator AS facilitator,
           p.resource AS resource, p.pay_to AS pay_to, p.error_class AS error_class, f.at_risk AS at_risk,
           if(p.settled_at > toDateTime(0, 'UTC'), toDateTime64(p.settled_at, 3, 'UTC'), p.first_seen) AS at,
           concat(toString(f.chain_id), ':0x', lower(hex(f.token)), ':', f.method, ':0x', lower(hex(f.authorizer)), ':0x', lower(hex(f.nonce))) AS payment_id, f.nonce AS nonce,
           toUInt64(bitAnd(greatest(f.version, p.version), toUInt128('18446744073709551615'))) AS evidence
    FROM findings AS f FINAL
    LEFT JOIN
    (
        SELECT pid, chain_id, token, method, authorizer, nonce, decimals, facilitator, resource, pay_to, error_class, settled_at, first_seen, version
        FROM payments FINAL WHERE pid IN (SELECT pid FROM findings)
    ) AS p USING (pid, chain_id, token, method, authorizer, nonce)
    UNION ALL
    SELECT 'exception', verdict, detail, '', chain_id, token, decimals, facilitator, resource, pay_to, error_class,
           multiIf(verdict = 'amount_mismatch' AND claimed IS NOT NULL AND gross IS NOT NULL, toUInt256(greatest(gross, claimed) - least(gross, claimed)), gross IS NOT NULL, gross, claimed),
           if(settled_at > toDateTime(0, 'UTC'), toDateTime64(settled_at, 3, 'UTC'), first_seen), id, nonce, toUInt64(bitAnd(version, toUInt128('18446744073709551615')))
    FROM
    (
        SELECT payment_id AS id, chain_id, token, nonce, decimals, verdict, detail, facilitator, resource, pay_to, error_class, gross, claimed, settled_at, first_seen, version
        FROM payments FINAL
        WHERE verdict NOT IN ('matched', 'offchain', 'expired', 'orphaned', 'pending')
    )
    WHERE id IN (SELECT payment_id FROM exceptions)
);
