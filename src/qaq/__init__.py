"""Data selection for code models: QAQ and XCoder as one experiment.

examples -> likelihood -> metrics -> subset -> checkpoint -> verdicts -> results: each arrow is a package here
("room"), each word a table in `qaq.tables`. Rooms do not import each other; `qaq.pipeline` joins them.
"""
