-- Reorgs: what the settlements of the replaced blocks amounted to.

ALTER TABLE reorgs ADD COLUMN IF NOT EXISTS amount UInt256 COMMENT 'of the settlements in the replaced blocks, atomic units of followed tokens added up' AFTER settlements;
