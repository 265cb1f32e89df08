#!/usr/bin/env python3
"""Generates phone cases from a seed. The expected results come from the official library (pip install phonenumbers).

    unseen_phones.py SEED COUNT [REGION] > folder/phones.jsonl && SMS_CASES_DIR=folder make cases

Generates the same number of cases for each kind of input in phones.jsonl.
"""

import json
import random
import sys

import phonenumbers as pn
from phonenumbers import PhoneNumberFormat as Format
from phonenumbers import PhoneNumberType as Type

US_AREAS = ["203", "212", "305", "415", "617", "646", "671", "684", "787", "800", "860", "888", "907", "956", "500", "900"]
TYPES = [value for name, value in vars(Type).items() if name.isupper() and value != Type.UNKNOWN]
EXAMPLES = [
    number
    for region in sorted(pn.SUPPORTED_REGIONS)
    for kind in TYPES
    if (number := pn.example_number_for_type(region, kind))
] + [number for code in sorted(pn.COUNTRY_CODES_FOR_NON_GEO_REGIONS) if (number := pn.example_number_for_non_geo_entity(code))]
SCRIPTS = ["０", "٠", "۰", "०", "০", "๐", "༠", "၀", "０"]
SPACES = [" ", " ", "-", ".", "/", "\u00a0", "\u2010", "\u2013", "\u2212", "\u3000", "\u2060", "\u00ad", "~", "\t", ""]
WORDS = ["FLOWERS", "CONTACT", "PetMeds", "GETFIOS", "my-apple", "RENTNOW", "MATTRESS", "LEAK911", "TENANTS"]
EXTENSIONS = ["x{}", " x {}", " ext. {}", " ext {}", ";ext={}", "#{}", " #{}", ",,{}", ",{}#", " - {}#", "~{}", " extension {}", " anexo {}", " доб {}", " Ext{}", " xt {}", " ;{}#", "ｘ{}", " int {}", " ramal {}"]


def digits(n):
    return "".join(random.choice("0123456789") for _ in range(n))


def us():
    area = random.choice(US_AREAS) if random.random() < 0.5 else str(random.randint(2, 9)) + digits(2)
    return area, str(random.randint(2, 9)) + digits(2), digits(4)


def us_spelling():
    a, b, c = us()
    s = lambda: random.choice(SPACES)
    body = random.choice([f"({a}){s()}{b}{s()}{c}", f"{a}{s()}{b}{s()}{c}", f"[{a}] {b}-{c}", f"({a}{b}){c}"])
    lead = random.choice(["", "", "1", "1-", "1 ", "+1", "+1 ", "+1-", "(+1) ", "001", "011 1 ", "tel:+1-", "＋1 "])
    return random.choice(["", "", "", " ", "\t", "t: ", "📞"]) + lead + body + random.choice(["", "", "", " ", "\n", "."])


def example():
    return random.choice(EXAMPLES)


def live(number):
    """Another number of the same plan: the last digits of an example replaced."""
    text = pn.format_number(number, Format.E164)
    keep = random.randint(max(3, len(text) - 7), len(text) - 1)
    return text[:keep] + digits(len(text) - keep)


def mutated():
    text = list(live(example()))
    for _ in range(random.randint(1, 3)):
        at = random.randrange(1, len(text))
        action = random.random()
        if action < 0.4:
            text[at] = random.choice("0123456789")
        elif action < 0.6 and len(text) > 6:
            del text[at]
        elif action < 0.8:
            text.insert(at, random.choice("0123456789"))
        else:
            text.insert(at, random.choice(SPACES))
    return "".join(text)


def spelled(form):
    text = live(example())
    try:
        return pn.format_number(pn.parse(text), form)
    except pn.NumberParseException:
        return text


def in_script(text):
    zero = ord(random.choice(SCRIPTS))
    return "".join(chr(zero + int(c)) if c in "0123456789" and c.isascii() else c for c in text)


def fuzz():
    alphabet = "0123456789012345678901234567890123456789+-() .x#*,;/abcXé１٠🏠"
    return "".join(random.choice(alphabet) for _ in range(random.randint(1, 24)))


def broken_spelling():
    text = list(us_spelling())
    for _ in range(random.randint(1, 2)):
        text[random.randrange(len(text))] = random.choice("0123456789xX+-() bO\u3000１é#;,")
    return "".join(text)


def context():
    a, b, c = us()
    e = live(example())
    return random.choice([f"tel:{b}-{c};phone-context=+1-{a}", f"tel:{a}-{b}-{c};phone-context=+1", f"tel:{a}{b}{c};phone-context=example.com", f"{a}{b}{c};phone-context=+44", f"tel:{e};isub=12", f"tel:{e};ext={digits(3)}", f"TEL:{e}", f"tel:{e[1:]}", f"tel:{a}{b}{c};phone-context="])


KINDS = {
    "e164": lambda: live(example()),
    "intl": lambda: spelled(Format.INTERNATIONAL),
    "rfc3966": lambda: spelled(Format.RFC3966),
    "phone_context": context,
    "idd_011": lambda: random.choice(["011", "011 ", "011-"]) + live(example())[1:],
    "idd_00": lambda: "00" + live(example())[1:],
    "no_plus_intl": lambda: live(example())[1:],
    "national_foreign_as_us": lambda: spelled(Format.NATIONAL),
    "plus_with_trunk": lambda: (lambda n: f"+{n.country_code} (0){pn.national_significant_number(n)}")(example()),
    "mutated": mutated,
    "random_intl": lambda: f"+{random.randint(1, 999)}{digits(random.randint(3, 13))}",
    "random_us_10": lambda: digits(10),
    "random_us_e164": lambda: "+1" + "".join(us()),
    "us_spelling": us_spelling,
    "us_spelling_broken": broken_spelling,
    "extension": lambda: us_spelling().rstrip() + random.choice(EXTENSIONS).format(digits(random.randint(1, 9))),
    "vanity": lambda: random.choice(["1-800-", "800", "(888) ", "+1 877 ", "212-"]) + random.choice(WORDS) + random.choice(["", "", " x12"]),
    "unicode_digits": lambda: in_script(us_spelling()),
    "fuzz": fuzz,
    "short": lambda: random.choice(["", "+", "*", "#"]) + digits(random.randint(1, 7)),
    "long": lambda: random.choice(["+", "", "+1", "0" * random.randint(5, 30)]) + digits(random.randint(14, 40)),
    "padded": lambda: random.choice("( a-.x") * random.randint(200, 260) + "".join(us()),
    "alphanumeric": lambda: "".join(random.choice("ABCabc&- 12") for _ in range(random.randint(1, 11))),
}


def judge(text, region):
    try:
        number = pn.parse(text, region)
    except pn.NumberParseException as error:
        return {"e164": None, "error": error.error_type}
    valid = pn.is_valid_number(number)
    return {
        "e164": pn.format_number(number, Format.E164) if valid else None,
        "nsn": pn.national_significant_number(number),
        "extension": number.extension,
    }


def main():
    random.seed(int(sys.argv[1]))
    region = sys.argv[3] if len(sys.argv) > 3 else "US"
    for index in range(int(sys.argv[2])):
        kind = list(KINDS)[index % len(KINDS)]
        text = KINDS[kind]()
        print(json.dumps({"id": f"{kind}/{index}", "input": text, "region": region} | judge(text, region)))


if __name__ == "__main__":
    main()
