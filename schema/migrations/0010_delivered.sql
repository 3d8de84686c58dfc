-- Deliveries in the match: what a request's payment header states of its terms, and what became of each payment's request.

ALTER TABLE deliveries
    ADD COLUMN IF NOT EXISTS pay_to FixedString(20) COMMENT 'the payTo that the payment header signs',
    ADD COLUMN IF NOT EXISTS signed_value Nullable(UInt256) COMMENT 'the amount that it signs, atomic units',
    ADD COLUMN IF NOT EXISTS valid_before UInt64 COMMENT 'Unix seconds, exclusive; 0 when unstated';

ALTER TABLE claims
    ADD COLUMN IF NOT EXISTS route_template LowCardinality(String) COMMENT 'of the extension bazaar, such as /users/:id';

ALTER TABLE payments
    ADD COLUMN IF NOT EXISTS delivered LowCardinality(String) COMMENT 'served, refused, unknown, absent; empty where no delivery log says' AFTER settler,
    ADD COLUMN IF NOT EXISTS waits_delivery Bool COMMENT 'judged again when a delivery log of its payTo has moved past the settlement' AFTER waits_log;
