-- Proofs: how strongly a block of the window is known, and what a rollup charges for a transaction's data on L1.

ALTER TABLE blocks ADD COLUMN IF NOT EXISTS how LowCardinality(String) COMMENT 'of a block of the unfinalized window: linked, proved, or neither' AFTER canonical;

ALTER TABLE transactions ADD COLUMN IF NOT EXISTS l1_fee UInt256 COMMENT 'L1 data fee of OP-stack rollups, wei' AFTER gas_price;
