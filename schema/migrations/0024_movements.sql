-- Movements know what channels pay out: that Transfer is its event's, and stands in no other table.

CREATE OR REPLACE VIEW movements AS
SELECT chain_id, block_number, block_hash, block_time, transaction, log_index, token, sender, recipient, amount
FROM
(
    SELECT chain_id, block_number, block_hash, block_time, transaction, log_index, token, sender, recipient, amount FROM transfers
    UNION ALL
    SELECT chain_id, block_number, block_hash, block_time, transaction, transfer_index AS log_index, token, authorizer AS sender, pay_to AS recipient, amount FROM settlements WHERE pairing IN ('paired', 'unread_call')
    UNION ALL
    SELECT chain_id, block_number, block_hash, block_time, transaction, transfer_index AS log_index, token, contract AS sender, receiver AS recipient, amount FROM channel_events WHERE pairing = 'paired'
)
WHERE (chain_id, block_number, block_hash) IN (SELECT chain_id, number, hash FROM blocks FINAL WHERE canonical)
LIMIT 1 BY chain_id, block_number, log_index, block_hash;
