"""Writes zones.txt: pip install phonenumbers tzdata; python zones.py > zones.txt

Area codes of the North American Numbering Plan come from ../phone/nanp.txt. A code that is no overlay has all the zones
that libphonenumber names for any of its numbers; an overlay has those of the codes it was laid over, since libphonenumber
often names only one zone for it, and sometimes the wrong one. Elsewhere the prefixes are libphonenumber's own.
"""

import datetime
import pathlib
import zoneinfo
from collections import Counter

import phonenumbers
import tzdata
from phonenumbers.tzdata import TIMEZONE_DATA

# The years in which the clocks of two zones must agree for one of them to be enough.
FIRST, LAST = 2026, 2027
MAX_ZONES = 3
NANP = pathlib.Path(__file__).parent.parent / "phone" / "nanp.txt"

frequency = Counter(zone for zones in TIMEZONE_DATA.values() for zone in zones)
clocks = {}


def clock(zone):
    """Returns every offset that the zone has at a full hour of these years."""
    if zone not in clocks:
        start = datetime.datetime(FIRST, 1, 1, tzinfo=datetime.timezone.utc)
        hours = (datetime.date(LAST + 1, 1, 1) - datetime.date(FIRST, 1, 1)).days * 24
        info = zoneinfo.ZoneInfo(zone)
        instants = (start + datetime.timedelta(hours=hour) for hour in range(hours))
        clocks[zone] = tuple(instant.astimezone(info).utcoffset() for instant in instants)
    return clocks[zone]


def distinct(zones):
    """Returns one zone for each clock, the one that most prefixes have."""
    by_clock = {}
    for zone in sorted(set(zones), key=lambda zone: (-frequency[zone], zone)):
        by_clock.setdefault(clock(zone), zone)
    return sorted(by_clock.values())


def below(prefix):
    return [zone for key, zones in TIMEZONE_DATA.items() if key.startswith(prefix) for zone in zones]


table = {}
for line in NANP.read_text().splitlines():
    if line.startswith("#"):
        continue
    code, _, _, _, parents = line.split()[:5]
    codes = [code] if parents == "-" else parents.split(",")
    table["1" + code] = distinct(zone for code in codes for zone in below("1" + code))
for prefix in sorted(TIMEZONE_DATA, key=len):
    if not prefix.startswith("1"):
        zones = distinct(TIMEZONE_DATA[prefix])
        shorter = next((prefix[:end] for end in range(len(prefix) - 1, 0, -1) if prefix[:end] in table), None)
        if shorter is None or table[shorter] != zones:
            table[prefix] = zones

print("# Time zones by the first digits of a number, the longest that fits. Written by zones.py from libphonenumber's data")
print(f"# (Apache-2.0; the Python package phonenumbers {phonenumbers.__version__}), ../phone/nanp.txt and tzdata {tzdata.IANA_VERSION}.")
print("# Of the North American Numbering Plan whole area codes, since a number is carried along when its owner moves next door.")
print(f"# A code that spans zones has all of them, one of each set whose clocks agree in {FIRST} and {LAST}; \"-\" stands for more")
print(f"# than {MAX_ZONES}.")
for prefix, zones in sorted(table.items()):
    print(prefix, "-" if len(zones) > MAX_ZONES else " ".join(zones))
