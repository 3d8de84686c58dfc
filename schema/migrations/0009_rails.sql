-- Rails: settlements and cancellations say how the value moved. Those from before are all EIP-3009.

ALTER TABLE settlements
    ADD COLUMN IF NOT EXISTS method LowCardinality(String) DEFAULT 'eip3009' AFTER pid,
    ADD COLUMN IF NOT EXISTS scheme LowCardinality(String) COMMENT 'of a Permit2 call that was read: exact or upto',
    ADD COLUMN IF NOT EXISTS permitted UInt256 COMMENT 'of a Permit2 call that was read: what the payer signed, atomic units';

ALTER TABLE cancellations
    ADD COLUMN IF NOT EXISTS method LowCardinality(String) DEFAULT 'eip3009' AFTER pid,
    ADD COLUMN IF NOT EXISTS mask UInt256 COMMENT 'of Permit2: which nonces of the word that nonce numbers';
