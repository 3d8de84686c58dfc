-- How far each delivery log has come and whose payments are in it, kept beside the rows as the spans of sightings are: a sweep asks it each time, and old deliveries shall not cost it
-- anything.

ALTER TABLE deliveries MODIFY SETTING deduplicate_merge_projection_mode = 'ignore';

ALTER TABLE deliveries
    ADD PROJECTION IF NOT EXISTS spans (SELECT source, facilitator, file, toStartOfHour(event_time), min(event_time), max(event_time) GROUP BY source, facilitator, file, toStartOfHour(event_time)),
    ADD PROJECTION IF NOT EXISTS payees (SELECT source, file, pay_to, minIf(event_time, event_time > toDateTime64(0, 3, 'UTC')) GROUP BY source, file, pay_to);

ALTER TABLE deliveries MATERIALIZE PROJECTION spans;

ALTER TABLE deliveries MATERIALIZE PROJECTION payees;
