"""Checks that no line of Rust source is longer than 120 characters.

rustfmt formats code to the max_width of .rustfmt.toml. It does not break comments and strings, and leaves code with a long
string unformatted.
"""

import re
import subprocess
import sys

LIMIT = 120

EXCEPTIONS = [
    (r".*", r"\s*//[/!] \|", "a table in documentation cannot be broken"),
    (r".*", r"\s*//[/!]? <?https?://\S+$", "a URL cannot be broken"),
    (r"common/src/(http/error|twilio/client/tests)\.rs", r'\s*@r?#?"', "insta writes inline snapshots in one line"),
    (r"local/bench/src/(sqs|twilio)\.rs", r'.*r#"\{', "recorded responses, in one line"),
]
"""Exceptions: path, start of the line, and reason."""


def is_exception(path, line):
    return any(re.fullmatch(files, path) and re.match(start, line) for files, start, _ in EXCEPTIONS)


def main():
    paths = subprocess.run(["git", "ls-files", "-z", "*.rs"], check=True, capture_output=True, text=True).stdout
    found = 0
    for path in filter(None, paths.split("\0")):
        with open(path, encoding="utf-8") as file:
            for number, line in enumerate(file.read().split("\n"), 1):
                if len(line) > LIMIT and not is_exception(path, line):
                    found += 1
                    print(f"{path}:{number}: {len(line)} characters; the limit is {LIMIT}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
