"""Verbs about models: eval, compare, ask, export, merge."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bloomery.cli.output import Json, finish, tell

Model = Annotated[
    str, typer.Argument(metavar="MODEL", help="A run, a model folder, or FAMILY/STAGE such as ember/posttrained.")
]


def add_to(app: typer.Typer) -> None:
    """Register the verbs of this file."""
    app.command("eval")(evaluate)
    for verb in (compare, ask, export, merge):
        app.command()(verb)


Suites = Annotated[
    list[str] | None,
    typer.Option("--suite", help="Suites by name, `responsible`, or a file of suites. Default: all that suit."),
]
Data = Annotated[list[Path] | None, typer.Option(help="Held-out rows of your own.")]
Trained = Annotated[Path | None, typer.Option(help="Rows that the model was trained on, to look for; with --control.")]
Control = Annotated[Path | None, typer.Option(help="Rows like them that it was not trained on.")]
Trusted = Annotated[bool, typer.Option("--trusted", help="Run the Python code that suites name, with your rights.")]
Limit = Annotated[int | None, typer.Option(help="Most rows of each suite.", min=1)]
Seed = Annotated[int, typer.Option(help="Seed of sampled answers.", min=0)]
Out = Annotated[Path | None, typer.Option(help="Folder for the figures and every sample.")]
Format = Annotated[str, typer.Option("--format", help="Form of what --out gets: bloomery or lm-eval.")]
Family = Annotated[str | None, typer.Option(help="Family whose suites are used.")]
Judge = Annotated[
    str | None,
    typer.Option(help="Who judges where a grader asks a model: a run, folder or FAMILY/STAGE, or a file of a server."),
]


def evaluate(
    model: Model,
    data: Data = None,
    suite: Suites = None,
    family: Family = None,
    trained: Trained = None,
    control: Control = None,
    trusted: Trusted = False,
    limit: Limit = None,
    seed: Seed = 0,
    out: Out = None,
    form: Format = "bloomery",
    judge: Judge = None,
    json: Json = False,
) -> None:
    """Measure one model.

    Bits per byte, skills, instruction following, refusals; or suites of your own. Every figure has its interval.

    \b
    bloomery eval ember/posttrained
    bloomery eval ember/posttrained --suite responsible
    bloomery eval runs/demo --data heldout.jsonl
    bloomery eval runs/demo --suite quiz.yaml --limit 50 --out results --format lm-eval
    """
    from bloomery.recipes.measuring import Asked
    from bloomery.recipes.measuring import evaluate as measure

    asked = Asked(data or [], suite, family, trained, control, trusted, limit, seed, out, form, judge, tell)
    finish(measure(model, asked), json)


def compare(
    models: Annotated[
        list[str], typer.Argument(metavar="A B [C...]", help="The model before and after, or several for a judge.")
    ],
    data: Data = None,
    suite: Suites = None,
    family: Family = None,
    trained: Trained = None,
    control: Control = None,
    trusted: Trusted = False,
    limit: Limit = None,
    seed: Seed = 0,
    out: Out = None,
    form: Format = "bloomery",
    judge: Judge = None,
    json: Json = False,
) -> None:
    """Say what B gained and lost against A, or how the answers of several models stand beside each other.

    With intervals, and an account of single answers that became right or wrong. With --judge, the answers to the
    prompts of --data are judged in pairs, in both orders, as are suites of `kind: pairwise`.

    \b
    bloomery compare ember/midtrained-warm runs/demo
    bloomery compare ember/posttrained runs/demo --suite responsible
    bloomery compare runs/a runs/b runs/c --data prompts.jsonl --judge ember/posttrained
    """
    from bloomery.core.errors import InputError
    from bloomery.recipes.measuring import Asked, rank
    from bloomery.recipes.measuring import compare as against

    asked = Asked(data or [], suite, family, trained, control, trusted, limit, seed, out, form, judge, tell)
    if len(models) < 2:
        raise InputError(f"`{models[0]}` alone cannot be compared", fix="name two models or more")
    finish(against(models[0], models[1], asked) if len(models) == 2 else rank(models, asked), json)


def ask(
    model: Model,
    prompt: Annotated[str, typer.Argument(help="The question; `-` reads it from standard input.")],
    tokens: Annotated[int, typer.Option(help="Most tokens of the answer.", min=1)] = 128,
    temperature: Annotated[float, typer.Option(help="0 is greedy.", min=0.0)] = 0.0,
    seed: Annotated[int, typer.Option(help="Seed of the sampling.", min=0)] = 0,
) -> None:
    """Ask a model one question.

    \b
    bloomery ask runs/demo "Write a workflow that approves an order over 100"
    """
    from bloomery.recipes.verbs import ask as question

    text = typer.get_text_stream("stdin").read() if prompt == "-" else prompt
    typer.echo(question(model, text, max_new_tokens=tokens, temperature=temperature, seed=seed))


def export(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="Name or folder of a run; for --gguf any model, such as FAMILY/STAGE.")
    ],
    folder: Annotated[Path | None, typer.Argument(help="Folder to write; it must not exist.")] = None,
    gguf: Annotated[
        str | None, typer.Option(help="Write a GGUF file for llama.cpp instead, compared with the model: f16 or q8_0.")
    ] = None,
    to: Annotated[str | None, typer.Option(help="Push to the Hub: hf:owner/name. Private where it is new.")] = None,
    token_env: Annotated[
        str | None, typer.Option(help="Environment variable with the access token. Default: HF_TOKEN.")
    ] = None,
    update: Annotated[bool, typer.Option("--update", help="Push over a repository that is there.")] = False,
    public: Annotated[bool, typer.Option("--public", help="Let everybody see a new repository.")] = False,
) -> None:
    """Write a run's model as a Hugging Face folder or GGUF file, or push it.

    \b
    bloomery export demo ./my-model
    bloomery export demo ./my-model-gguf --gguf q8_0
    bloomery export demo --to hf:my-org/my-model
    """
    from bloomery.core.errors import InputError

    if (folder is None) == (to is None) or (to and gguf):
        raise InputError("an export goes to one place", fix="name a folder to write, or --to hf:owner/name")
    if to is not None:
        from bloomery.recipes.push import push

        typer.echo(str(push(run, to, token=token_env, update=update, public=public)))
    elif gguf is not None:
        from bloomery.recipes.gguf import export_file

        path, compared = export_file(run, Path(folder or ""), gguf)
        typer.echo(f"wrote {path}\n{compared}")
    else:
        from bloomery.recipes.verbs import export as publish

        typer.echo(f"wrote {publish(run, Path(folder or ''))}")


def merge(
    models: Annotated[
        list[str],
        typer.Argument(metavar="MODEL... FOLDER", help="Runs, model folders or FAMILY/STAGE, and the folder to write."),
    ],
    by: Annotated[
        str | None, typer.Option(help="How: linear, slerp, task, ties or graft. None: the adapter of one run.")
    ] = None,
    strength: Annotated[float, typer.Option(help="0 is what the merge begins with, 1 all of the other.")] = 0.5,
    base: Annotated[
        str | None, typer.Option(help="What the models were trained from, for task, ties and graft.")
    ] = None,
) -> None:
    """Merge models into one, or a LoRA adapter into its base.

    A graft puts what a run learned onto a later checkpoint: name that checkpoint first. Measure what comes out.

    \b
    bloomery merge runs/lora ./merged
    bloomery merge ember/posttrained runs/demo ./merged --by linear --strength 0.3
    bloomery merge ember/posttrained runs/early ./merged --by graft --base ember/pretrained
    """
    from bloomery.recipes.merge import merge as join
    from bloomery.recipes.merge import merge_adapter

    *named, folder = models
    if by is None:
        _refuse_many(named, base)
        typer.echo(f"wrote {merge_adapter(named[0], Path(folder))}")
        return
    typer.echo(f"wrote {join(named, Path(folder), by=by, strength=strength, base=base)}")


def _refuse_many(models: list[str], base: str | None) -> None:
    """Without `--by` there is one run, whose adapter is merged into the model it was trained on."""
    from bloomery.core.errors import InputError

    if len(models) != 1 or base is not None:
        fix = "add --by linear, slerp, task, ties or graft; or name one run and a folder to write"
        raise InputError("which way to merge is not said", fix=fix)
