-- Next to nothing from or to an address that begins and ends like a counterparty's (four digits each, as wallets shorten them), so that somebody who copies from his history pays the wrong one.
-- Counterparties of a payTo are those who paid it, or whom it paid, often enough. A spoofed Transfer seems to come from the payTo itself. A plain Transfer is named by its own
-- payment key: keccak(transaction, log index).
WITH
dead AS MATERIALIZED (SELECT hash FROM blocks FINAL WHERE chain_id = {chain:UInt64} AND NOT canonical AND number <= {final:UInt64}),
settled AS
(
    SELECT token, toString(method) AS method, authorizer, nonce, pay_to, assumeNotNull(gross) AS amount FROM payments FINAL
    WHERE chain_id = {chain:UInt64} AND finality = 'final' AND gross IS NOT NULL
),
plain AS
(
    SELECT token, sender, recipient, amount, keccak256(concat(transaction, reverse(reinterpretAsFixedString(log_index)))) AS nonce FROM transfers FINAL
    WHERE chain_id = {chain:UInt64} AND block_number <= {final:UInt64} AND block_hash NOT IN dead
),
payees AS MATERIALIZED (SELECT DISTINCT token, pay_to FROM settled),
counterparties AS MATERIALIZED
(
    SELECT token, pay_to, address, substring(address, 1, 2) AS head, substring(address, 19, 2) AS tail FROM
    (
        SELECT token, pay_to, authorizer AS address FROM settled WHERE amount > {poisoning_dust:UInt256}
        UNION ALL
        SELECT token, sender AS pay_to, recipient AS address FROM plain WHERE amount > {poisoning_dust:UInt256} AND (token, sender) IN payees
    )
    GROUP BY token, pay_to, address HAVING count() >= {poisoning_settlements:UInt64}
),
dust AS MATERIALIZED
(
    SELECT token, method, authorizer, nonce, pay_to, authorizer AS likeness, 'payment' AS detail, amount FROM settled WHERE amount <= {poisoning_dust:UInt256}
    UNION ALL
    SELECT token, 'transfer', sender, nonce, recipient, sender, 'transfer', amount FROM plain WHERE amount <= {poisoning_dust:UInt256} AND (token, recipient) IN payees
    UNION ALL
    SELECT token, 'transfer', sender, nonce, sender, recipient, 'spoofed', amount FROM plain WHERE amount <= {poisoning_dust:UInt256} AND (token, sender) IN payees
)
SELECT d.token, d.method AS method, d.authorizer, d.nonce, d.detail AS detail, concat('0x', lower(hex(min(c.address)))) AS other, toNullable(d.amount) AS at_risk,
       concat('0x', lower(hex(d.likeness)), ' moved ', toString(d.amount), ' and looks like 0x', lower(hex(min(c.address))), ', a counterparty of 0x', lower(hex(d.pay_to))) AS evidence
FROM dust AS d
INNER JOIN counterparties AS c ON d.token = c.token AND d.pay_to = c.pay_to AND substring(d.likeness, 1, 2) = c.head AND substring(d.likeness, 19, 2) = c.tail
WHERE d.likeness != c.address AND (d.token, d.pay_to, d.likeness) NOT IN (SELECT token, pay_to, address FROM counterparties)
GROUP BY d.token, d.method, d.authorizer, d.nonce, d.detail, d.likeness, d.pay_to, d.amount
