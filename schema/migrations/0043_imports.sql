-- A merge reads and writes again what it merges, and a large import is mostly that. What is only read in the order of its key, by log or by writer, may lie in more parts before they are merged; what a
-- sweep looks up payment by payment costs it something for each part, and lies in few. Raw lines are large: a merge holds a block of each part.

ALTER TABLE raw_lines MODIFY SETTING merge_selector_base = 20, merge_max_block_size_bytes = 2097152;

ALTER TABLE touched MODIFY SETTING merge_selector_base = 20;

ALTER TABLE claims MODIFY SETTING merge_selector_base = 8;

ALTER TABLE sightings MODIFY SETTING merge_selector_base = 8;
