"""Settings of nbgrader for the labs; `nbgrader` reads this file when it is run in this folder.

A lab has one source, solutions/<lab>/<lab>.ipynb. `make labs` generates labs/ from it,
`python -m tools.grade` grades a class. Both use these settings, with a gradebook of their own.
"""

c = get_config()  # noqa: F821  given by the loader

c.CourseDirectory.course_id = "recsys_lab"
c.CourseDirectory.source_directory = "solutions"
c.CourseDirectory.release_directory = "labs"

c.ClearSolutions.begin_solution_delimeter = "### BEGIN SOLUTION"
c.ClearSolutions.end_solution_delimeter = "### END SOLUTION"
c.ClearSolutions.code_stub = {
    "python": '# Your code here\nraise NotImplementedError("not written yet")'
}
c.ClearHiddenTests.begin_test_delimeter = "### BEGIN HIDDEN TESTS"
c.ClearHiddenTests.end_test_delimeter = "### END HIDDEN TESTS"

# A student's endless loop costs the checks that need it, not the grading of the class.
c.Execute.timeout = 120
c.Execute.interrupt_on_timeout = True
# A check cell that a student deleted comes back, and is graded.
c.OverwriteCells.add_missing_cells = True
