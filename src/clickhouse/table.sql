CREATE TABLE IF NOT EXISTS {table}
(
    id String,
    ended DateTime64(6, 'UTC'),
    arrived DateTime64(6, 'UTC'),
    duration_us UInt64,
    first_event_us Nullable(UInt64),
    overhead_us Nullable(UInt64),
    status Nullable(UInt16),
    ending LowCardinality(String),
    error LowCardinality(String),
    message String,
    key LowCardinality(String),
    team LowCardinality(String),
    customer LowCardinality(String),
    end_user String,
    session String,
    tags Map(LowCardinality(String), String),
    trace String,
    dialect LowCardinality(String),
    model LowCardinality(String),
    target LowCardinality(String),
    provider LowCardinality(String),
    stream Bool,
    finish_reason LowCardinality(String),
    tool_calls UInt32,
    bytes UInt64,
    input UInt64,
    cached UInt64,
    output UInt64,
    reasoning UInt64,
    cost Decimal(20, 9),
    estimated Bool,
    attempts Nested
    (
        target LowCardinality(String),
        role LowCardinality(String),
        key LowCardinality(String),
        outcome LowCardinality(String),
        status Nullable(UInt16),
        started_us UInt64,
        first_byte_us Nullable(UInt64),
        ended_us Nullable(UInt64),
        input UInt64,
        output UInt64,
        cost Nullable(Decimal(20, 9))
    ),
    record String CODEC(ZSTD(3)),
    request String CODEC(ZSTD(3)),
    answer String CODEC(ZSTD(3)),
    is_cut Bool,
    INDEX by_id id TYPE bloom_filter(0.01) GRANULARITY 4,
    INDEX by_trace trace TYPE bloom_filter(0.01) GRANULARITY 4,
    INDEX by_session session TYPE bloom_filter(0.01) GRANULARITY 4,
    INDEX by_end_user end_user TYPE bloom_filter(0.01) GRANULARITY 4
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(ended)
ORDER BY (toStartOfHour(ended), team, key, ended, id)
{ttl}
SETTINGS non_replicated_deduplication_window = 1000
