# SPDX-License-Identifier: MIT
"""Runs tests of CPython and writes what became of each: one line `OUTCOME SECONDS NAME`.

    python3 run_cpython.py RESULTS TEST...

A TEST is the name of a module, a class or a method, with `:PATTERN` only those methods of it that
match. Not by `python3 -m test`: that names only
tests that fail.
"""

import sys
import time
import unittest
from test import support


class Results(unittest.TextTestResult):
    def __init__(self, *arguments, **named):
        super().__init__(*arguments, **named)
        self.outcomes = {}

    def startTest(self, test):
        super().startTest(test)
        self.began = time.monotonic()
        self.outcomes[test.id()] = ["passed", 0]

    def stopTest(self, test):
        super().stopTest(test)
        self.outcomes[test.id()][1] = time.monotonic() - self.began

    def note(self, test, outcome):
        # A class or a module that fails in its setUp has an id as well.
        self.outcomes.setdefault(test.id(), ["", 0])[0] = outcome

    def addFailure(self, test, error):
        super().addFailure(test, error)
        self.note(test, "failed")

    def addError(self, test, error):
        super().addError(test, error)
        self.note(test, "failed")

    def addSubTest(self, test, subtest, error):
        super().addSubTest(test, subtest, error)
        if error is not None:
            self.note(test, "failed")

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.note(test, "skipped")

    def addExpectedFailure(self, test, error):
        super().addExpectedFailure(test, error)
        self.note(test, "expected-failure")

    def addUnexpectedSuccess(self, test):
        super().addUnexpectedSuccess(test)
        self.note(test, "failed")


def main():
    path, names = sys.argv[1], sys.argv[2:]
    # As regrtest has it without -u: nothing that needs a network, a sound card or an hour.
    support.use_resources = {}
    support.junit_xml_list = None
    suite = unittest.TestSuite()
    for name in names:
        name, _, pattern = name.partition(":")
        loader = unittest.TestLoader()
        # A pattern is compared with the full name.
        loader.testNamePatterns = ["*." + pattern] if pattern else None
        suite.addTests(loader.loadTestsFromName("test." + name))
    runner = unittest.TextTestRunner(verbosity=2, resultclass=Results)
    results = runner.run(suite)
    with open(path, "w") as file:
        for name, (outcome, seconds) in sorted(results.outcomes.items()):
            print(outcome, f"{seconds:.3f}", name, file=file)


if __name__ == "__main__":
    main()
