"""One part of the page a file: a function from ReportData to a Section."""
