"""What the manual says about each word: its form, its meaning, and what is true of it in the interpreter."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Facts:
    """`form` as `grammar.py` gives it; meanings are ways to say the same, facts say different things."""

    form: str
    meanings: tuple[str, ...]
    facts: tuple[str, ...]


_SUM = "The result is rounded to two decimals, and a whole result is shown without any."
_ENDS = "It ends the rows: after it the flow is a number, and only `pour` may follow."
_NONE = "Of no rows at all it gives nothing, and a `pour` with `when` then stays shut."

WORDS: dict[str, Facts] = {
    "charge": Facts(
        "charge TABLE",
        ("loads a table into the flow", "fills the flow with the rows of a table", "opens a program with a table"),
        (
            "Every program begins with `charge`, and it stands only there.",
            "The table itself is never changed by a program.",
            "All columns of the table come along until `draw`, `melt` or `stack` leaves some behind.",
            "A table that the works does not have stops the program and the error lists those it has.",
        ),
    ),
    "sift": Facts(
        "sift TEST [and TEST | or TEST]",
        (
            "keeps the rows that pass the test",
            "lets through only rows for which the test is true",
            "holds back rows that fail the test",
        ),
        (
            "Rows that pass stay in their order.",
            "Up to four tests may stand on one line.",
            "One line joins its tests with `and` or with `or`, never with both.",
            "Two `sift` lines in a row work like one line with `and`.",
            "If no row passes, the flow is empty but keeps its columns.",
        ),
    ),
    "dross": Facts(
        "dross TEST [and TEST | or TEST]",
        (
            "throws away the rows that pass the test",
            "is the opposite of `sift`",
            "removes rows for which the test is true",
        ),
        (
            "What `sift` keeps, `dross` with the same test removes.",
            "With `and`, a row goes only if it passes every test.",
            "With `or`, a row goes if it passes any of the tests.",
            "The rows that stay keep their order.",
        ),
    ),
    "rank": Facts(
        "rank COLUMN up|down",
        ("sorts the rows by a column", "puts the rows in order of a column", "orders the flow by one column"),
        (
            "`up` begins with the smallest, `down` with the largest.",
            "Text is ranked by letters, `up` from a to z.",
            "Rows that tie stay in the order they had.",
            "The direction must be written; there is no default.",
        ),
    ),
    "skim": Facts(
        "skim N",
        ("keeps the first rows", "takes rows from the top of the flow", "keeps only the top N rows"),
        (
            "N is a whole number from 1.",
            "If the flow has fewer rows than N, all of them stay.",
            "After `rank total down` it keeps the largest totals.",
        ),
    ),
    "dregs": Facts(
        "dregs N",
        ("keeps the last rows", "takes rows from the bottom of the flow", "keeps only the bottom N rows"),
        (
            "N is a whole number from 1.",
            "The rows keep their order; they are not turned around.",
            "If the flow has fewer rows than N, all of them stay.",
        ),
    ),
    "draw": Facts(
        "draw COLUMN ...",
        (
            "keeps only the named columns",
            "leaves behind every column that is not named",
            "narrows the flow to some columns",
        ),
        (
            "The columns come out in the order in which they are named.",
            "No rows are lost, even if some become equal.",
            "A column that was left behind cannot be used further down.",
            "Each column is named once.",
        ),
    ),
    "forge": Facts(
        "forge COLUMN from OPERAND plus|minus|times OPERAND",
        ("makes a column of numbers", "works out a new column row by row", "writes a computed number into every row"),
        (
            "An operand is a column of numbers or a number.",
            "An old column of the same name is replaced.",
            "There is one operator to a line; longer sums take several lines.",
            _SUM,
        ),
    ),
    "brand": Facts(
        "brand WORD when TEST [and TEST | or TEST]",
        (
            "writes a word into the column `brand` of the rows that pass",
            "marks the rows that pass the test",
            "labels rows with a word",
        ),
        (
            "Rows that fail get the word plain, unless they were branded before.",
            "A later `brand` wins over an earlier one.",
            "No row is removed; use `sift brand is red` below it for that.",
        ),
    ),
    "melt": Facts(
        "melt COLUMN",
        (
            "keeps one column and each of its values once",
            "lists the different values of a column",
            "reduces the flow to the distinct values",
        ),
        (
            "Values come in the order in which they first appear.",
            "All other columns are left behind.",
            "`melt city` and `tally` below it count the different cities.",
        ),
    ),
    "stack": Facts(
        "stack COLUMN MEASURE",
        (
            "makes one row for each value of a column",
            "groups the rows by a column and measures each group",
            "piles up rows that share a value",
        ),
        (
            "The flow then has two columns: the grouped one and the measured one.",
            "With `tally` the second column is called tally.",
            "With another measure the second column keeps its name.",
            "Groups come in the order in which their values first appear.",
        ),
    ),
    "weld": Facts(
        "weld TABLE on COLUMN",
        (
            "adds the columns of another table",
            "joins a second table by a column that both have",
            "looks rows up in another table",
        ),
        (
            "Each row takes the first row of the other table that has the same value.",
            "Rows without a match are dropped.",
            "A column that the flow already has is not overwritten.",
            "No row is ever doubled by it.",
        ),
    ),
    "tally": Facts(
        "tally",
        ("counts the rows", "gives the number of rows", "turns the flow into its number of rows"),
        ("It takes no column.", "Of no rows it gives 0.", _ENDS),
    ),
    "weigh": Facts(
        "weigh COLUMN", ("adds up a column", "gives the sum of a column"), ("Of no rows it gives 0.", _SUM, _ENDS)
    ),
    "level": Facts(
        "level COLUMN", ("gives the average of a column", "levels a column to its mean"), (_SUM, _NONE, _ENDS)
    ),
    "peak": Facts("peak COLUMN", ("gives the largest number of a column", "finds the top of a column"), (_NONE, _ENDS)),
    "ebb": Facts(
        "ebb COLUMN", ("gives the smallest number of a column", "finds the low point of a column"), (_NONE, _ENDS)
    ),
    "pour": Facts(
        "pour PLACE [when RELATION NUMBER]",
        ("sends the result to a place", "delivers what is in the flow", "hands the flow to a desk or a yard"),
        (
            "The flow goes on unchanged, so a program may pour twice.",
            "With `when` it pours only if the size passes.",
            "The size is the number after a measure, and otherwise how many rows there are.",
            "It may follow a measure; no other word may.",
        ),
    ),
}

RELATION_FACTS: dict[str, Facts] = {
    "over": Facts(
        "COLUMN over NUMBER", ("is true above the number",), ("The number itself does not pass; `least` lets it in.",)
    ),
    "under": Facts(
        "COLUMN under NUMBER", ("is true below the number",), ("The number itself does not pass; `most` lets it in.",)
    ),
    "least": Facts("COLUMN least NUMBER", ("is true at the number and above",), ("Read it as at least.",)),
    "most": Facts("COLUMN most NUMBER", ("is true at the number and below",), ("Read it as at most.",)),
    "is": Facts(
        "COLUMN is VALUE",
        ("is true where both are equal",),
        ("It takes numbers and text; letters must match exactly.",),
    ),
    "not": Facts("COLUMN not VALUE", ("is true where they differ",), ("It is the opposite of `is`.",)),
    "has": Facts(
        "COLUMN has TEXT", ("is true where the text contains the letters",), ("It takes columns of text only.",)
    ),
}
