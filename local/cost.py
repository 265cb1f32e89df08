"""Computes the tables of common/docs/cost.md, or checks that the page has them:

    python3 local/cost.py [common/docs/cost.md]

Change a price or an assumption here, run it, and copy the tables.
"""

import pathlib
import sys

TEMPLATE = (pathlib.Path(__file__).parent.parent / "template.yaml").read_text(encoding="utf-8")

VOLUMES = {"10 thousand": 10_000, "1 million": 1_000_000, "10 million": 10_000_000}
"""Messages a month, half of them inbound."""

# Prices in US dollars, us-east-1. The page has their sources.
LAMBDA_REQUEST = 0.20 / 1e6
LAMBDA_GB_SECOND = 0.0000133334  # arm64
API_REQUEST = 1.00 / 1e6
SQS_REQUEST = 0.40 / 1e6
LOG_GB = 0.50
SECRET, SECRET_CALL = 0.40, 0.05 / 10_000
ALARM_METRIC, CUSTOM_METRIC, DASHBOARD = 0.10, 0.30, 3.00
TRACE = 5.00 / 1e6
TRANSFER_GB = 0.09
S3_GB, S3_PUT = 0.023, 0.005 / 1_000
SEGMENT, CARRIER, MMS_IN = 0.0083, 0.0035, 0.0165
RDS = {10_000: 11.68, 1_000_000: 23.36, 10_000_000: 47.45}  # db.t4g.micro, .small, .medium, one instance
RDS_GB, RDS_SMALLEST_GB = 0.115, 20
SUPABASE_PLAN, SUPABASE_CREDIT = 25, 10
SUPABASE = {10_000: 10, 1_000_000: 15, 10_000_000: 110}  # Micro, Small, Large
SUPABASE_GB, SUPABASE_INCLUDED_GB = 0.125, 8
AURORA_HOUR, AURORA_GB, AURORA_IO = 0.276, 0.10, 0.20 / 1e6  # db.r7g.large

# Traffic.
MEDIA = 0.05  # inbound messages with a file
MEDIA_BYTES, MEDIA_SECONDS = 300_000, 0.6  # of a file
INVOCATIONS_IN, INVOCATIONS_OUT = 2.1 + MEDIA, 6.1
SECONDS_IN, SECONDS_OUT = 0.05 + MEDIA * MEDIA_SECONDS, 0.48
SQS_IN, SQS_OUT = 3 + 3 * MEDIA, 9
MEMORY_GB = 0.25
SEGMENTS = 1.3
MONTH_SECONDS = 730 * 3600
SCHEDULED = sum(
    TEMPLATE.count(f"ScheduleExpression: rate(1 {unit})") * runs
    for unit, runs in {"minute": 730 * 60, "hour": 730, "day": 730 / 24}.items()
)
SCHEDULED_SECONDS = 0.05
EMPTY_POLLS = TEMPLATE.count("AWS::Lambda::EventSourceMapping") * 5 * MONTH_SECONDS / 20  # five pollers each, 20 s
LOG_BYTES = 1_500  # per invocation
COLD_STARTS = 0.01
ALARM_METRICS, CUSTOM_METRICS = 202, 60
TRANSFER_BYTES = 8_000  # per message: to Twilio, to callers, to a database outside the Region
ARCHIVE_BYTES = 100  # per message, compressed
FOREVER_GB, MONTHLY_GB = 84 / 1e8, 200 / 1e8  # of the database per message (scale.md)
MONTHS, RAW_MONTHS = 24, 3
OPERATIONS = 12  # I/O operations per message, at most (scale.md)


def aws(messages):
    half = messages / 2
    invocations = half * (INVOCATIONS_IN + INVOCATIONS_OUT) + SCHEDULED
    seconds = half * (SECONDS_IN + SECONDS_OUT) + SCHEDULED * SCHEDULED_SECONDS
    # Each function that begins traces records the first one of each second, and 5 % of the others.
    begun = (half, half, 2 * half, SCHEDULED)  # inbound-sms, send-sms, delivery-status, schedules
    traces = sum(first + 0.05 * (roots - first) for roots in begun for first in [min(roots, MONTH_SECONDS)])
    return {
        "Lambda, requests": invocations * LAMBDA_REQUEST,
        "Lambda, time": seconds * MEMORY_GB * LAMBDA_GB_SECOND,
        "API Gateway": half * API_REQUEST,
        "SQS": (half * (SQS_IN + SQS_OUT) + EMPTY_POLLS) * SQS_REQUEST,
        "logs": invocations * LOG_BYTES / 1e9 * LOG_GB,
        "alarms, metrics, dashboard": ALARM_METRICS * ALARM_METRIC + CUSTOM_METRICS * CUSTOM_METRIC + DASHBOARD,
        "X-Ray": traces * TRACE,
        "Secrets Manager": 2 * SECRET + 2 * COLD_STARTS * invocations * SECRET_CALL,
        "data transfer": messages * TRANSFER_BYTES / 1e9 * TRANSFER_GB,
        "media in S3, per year kept": half * MEDIA * (S3_PUT + 12 * MEDIA_BYTES / 1e9 * S3_GB),
        "archive in S3, per year kept": 12 * messages * ARCHIVE_BYTES / 1e9 * S3_GB,
    }


def databases(messages):
    """After two years, with three months of raw data and events."""
    size = messages * (MONTHS * FOREVER_GB + RAW_MONTHS * MONTHLY_GB)
    compute = max(SUPABASE[messages] - SUPABASE_CREDIT, 0)
    supabase = SUPABASE_PLAN + compute + max(size - SUPABASE_INCLUDED_GB, 0) * SUPABASE_GB
    rds = RDS[messages] + max(size, RDS_SMALLEST_GB) * RDS_GB
    aurora = 2 * 730 * AURORA_HOUR + size * AURORA_GB + messages * OPERATIONS * AURORA_IO
    return {
        "Supabase": supabase,
        "RDS for PostgreSQL, one instance": rds,
        "the same, Multi-AZ": 2 * rds,
        "Aurora Standard, two instances": aurora,
    }


def twilio(messages):
    half = messages / 2
    return {"outbound": half * SEGMENTS * (SEGMENT + CARRIER), "inbound": half * ((1 - MEDIA) * SEGMENT + MEDIA * MMS_IN)}


def dollars(value):
    return f"${value:,.2f}" if value < 100 else f"${value:,.0f}"


def row(name, values):
    return f"| {name} | " + " | ".join(dollars(value) for value in values) + " |"


def rows():
    head = f"| a month | {' | '.join(VOLUMES)} |"
    yield from (head, "|---|---|---|---|")
    for name in aws(1):
        yield row(name, [aws(messages)[name] for messages in VOLUMES.values()])
    yield row("**AWS without the database**", [sum(aws(messages).values()) for messages in VOLUMES.values()])
    yield ""
    yield from (f"| database | {' | '.join(VOLUMES)} |", "|---|---|---|---|")
    for name in databases(10_000):
        yield row(name, [databases(messages)[name] for messages in VOLUMES.values()])
    yield ""
    yield from (f"| Twilio | {' | '.join(VOLUMES)} |", "|---|---|---|---|")
    for name in twilio(1):
        yield row(name, [twilio(messages)[name] for messages in VOLUMES.values()])


def main():
    if len(sys.argv) == 1:
        print("\n".join(rows()))
        return
    with open(sys.argv[1], encoding="utf-8") as file:
        lines = set(file.read().splitlines())
    missing = [line for line in rows() if line not in lines]
    for line in missing:
        print(f"{sys.argv[1]} lacks: {line}", file=sys.stderr)
    sys.exit(bool(missing))


main()
