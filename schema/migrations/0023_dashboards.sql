-- What dashboards read beside the books: names and explorers of chains, and findings with the payment that each is about.

CREATE VIEW IF NOT EXISTS networks
(
    chain_id UInt64,
    name     String COMMENT 'as x402 v1 calls it',
    explorer String COMMENT 'address of a block explorer; below it /tx/ and /address/'
) AS
SELECT network.1 AS chain_id, network.2 AS name, network.3 AS explorer
FROM
(
    SELECT arrayJoin([
        (toUInt64(8453), 'base', 'https://basescan.org'),
        (toUInt64(84532), 'base-sepolia', 'https://sepolia.basescan.org'),
        (toUInt64(1), 'ethereum', 'https://etherscan.io'),
        (toUInt64(11155111), 'sepolia', 'https://sepolia.etherscan.io'),
        (toUInt64(137), 'polygon', 'https://polygonscan.com'),
        (toUInt64(80002), 'polygon-amoy', 'https://amoy.polygonscan.com'),
        (toUInt64(42161), 'arbitrum', 'https://arbiscan.io'),
        (toUInt64(421614), 'arbitrum-sepolia', 'https://sepolia.arbiscan.io'),
        (toUInt64(10), 'optimism', 'https://optimistic.etherscan.io'),
        (toUInt64(43114), 'avalanche', 'https://snowscan.xyz'),
        (toUInt64(43113), 'avalanche-fuji', 'https://testnet.snowscan.xyz'),
        (toUInt64(42220), 'celo', 'https://celoscan.io'),
        (toUInt64(11142220), 'celo-sepolia', 'https://celo-sepolia.blockscout.com'),
        (toUInt64(143), 'monad', 'https://monadscan.com'),
        (toUInt64(1329), 'sei', 'https://seiscan.io'),
        (toUInt64(1328), 'sei-testnet', 'https://testnet.seiscan.io'),
        (toUInt64(50), 'xdc', 'https://xdcscan.com'),
        (toUInt64(51), 'xdc-apothem', 'https://testnet.xdcscan.com'),
        (toUInt64(36900), 'adi', 'https://blockscan.com'),
        (toUInt64(190415), 'hpp', 'https://blockscan.com'),
        (toUInt64(181228), 'hpp-sepolia', 'https://blockscan.com'),
        (toUInt64(4689), 'iotex', 'https://iotexscan.io'),
        (toUInt64(3338), 'peaq', 'https://peaq.subscan.io'),
        (toUInt64(2741), 'abstract', 'https://abscan.org'),
        (toUInt64(11124), 'abstract-testnet', 'https://sepolia.abscan.org'),
        (toUInt64(1514), 'story', 'https://storyscan.io'),
        (toUInt64(41923), 'educhain', 'https://educhain.blockscout.com'),
        (toUInt64(324705682), 'skale-base-sepolia', 'https://blockscan.com'),
        (toUInt64(480), 'world-chain', 'https://worldscan.org')
    ]) AS network
);

CREATE VIEW IF NOT EXISTS finding_lines
(
    at           DateTime('UTC') COMMENT 'of the settlement or, where nothing settled, of the earliest evidence; 1970 when none has a time',
    rule         String,
    detail       String,
    severity     String,
    at_risk      Nullable(UInt256) COMMENT 'atomic units',
    evidence     String,
    other        String COMMENT 'the other payment, claim or facilitator that the remark is about',
    pid          UInt64,
    payment_id   String,
    chain_id     UInt64,
    token        FixedString(20),
    decimals     UInt8,
    authorizer   FixedString(20),
    nonce        FixedString(32),
    verdict      String,
    pay_to       FixedString(20),
    resource     String,
    facilitator  String,
    gross        Nullable(UInt256) COMMENT 'atomic units',
    refunded     Nullable(UInt256) COMMENT 'atomic units',
    claims       UInt32,
    transaction  FixedString(32) COMMENT 'of the settlement or, where nothing settled, the one that a claim names; zero without any'
) AS
SELECT if(p.settled_at > toDateTime(0, 'UTC'), p.settled_at, toDateTime(p.first_seen, 'UTC')) AS at,
       f.rule AS rule, f.detail AS detail, f.severity AS severity, f.at_risk AS at_risk, f.evidence AS evidence, f.other AS other, f.pid AS pid,
       concat(toString(f.chain_id), ':0x', lower(hex(f.token)), ':', f.method, ':0x', lower(hex(f.authorizer)), ':0x', lower(hex(f.nonce))) AS payment_id,
       f.chain_id AS chain_id, f.token AS token, p.decimals AS decimals, f.authorizer AS authorizer, f.nonce AS nonce, p.verdict AS verdict, p.pay_to AS pay_to,
       p.resource AS resource, p.facilitator AS facilitator, p.gross AS gross, p.refunded AS refunded, p.claims AS claims,
       if(p.transaction = toFixedString('', 32), p.claim_transaction, p.transaction) AS transaction
FROM findings AS f FINAL
INNER JOIN
(
    SELECT pid, chain_id, token, method, authorizer, nonce, decimals, verdict, pay_to, resource, facilitator, gross, refunded, claims, transaction, claim_transaction, settled_at, first_seen
    FROM payments FINAL WHERE pid IN (SELECT pid FROM findings)
) AS p USING (pid, chain_id, token, method, authorizer, nonce);
