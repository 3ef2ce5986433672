"""Runs that fail, retry, pause, fan out, jump, nest and are cancelled: the same bare and sealed."""

import asyncio
import operator
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, TypedDict

import pytest
from backends import AsyncBackend, AsyncMemory, AsyncPostgres, Backend
from langgraph.errors import NodeError
from langgraph.graph import START, StateGraph
from langgraph.runtime import Runtime
from langgraph.types import Command, RetryPolicy, Send, interrupt
from same import SOME, SYNC_AND_ASYNC, assert_same, config

from sealpoint import Keyring


class State(TypedDict, total=False):
    log: Annotated[list[str], operator.add]
    note: str
    count: int
    items: list[str]


def scenario_retries(backend: Backend, wrap: Any) -> Any:
    """A node that fails twice. What it wrote through `Send` or returned in the failed attempts is nowhere."""
    tries: list[int] = []

    def flaky(state: State) -> State:
        tries.append(len(tries))
        if len(tries) < 3:
            raise ConnectionError("canary outage")
        return {"log": [f"canary after {len(tries)}"]}

    builder = StateGraph(State)
    builder.add_node("flaky", flaky, retry_policy=RetryPolicy(initial_interval=0, jitter=False, max_attempts=3))
    builder.add_node("beside", lambda state: {"log": ["canary beside"]})
    builder.add_edge(START, "flaky")
    builder.add_edge(START, "beside")
    with backend.opened(wrap) as saver:
        graph = builder.compile(checkpointer=saver)
        result = backend.invoke(graph, {"log": ["canary in"]}, config())
        assert (len(tries), len(result["log"])) == (3, 3)
        return result, backend.history(graph, config())


def scenario_fixed_after_failure(backend: Backend, wrap: Any) -> Any:
    """A node raises for good; after the fix the run goes on. What had finished does not run again: its writes come back, in their order."""
    ran: list[str] = []
    broken = True

    def fails(state: State) -> State:
        ran.append("fails")
        if broken:
            raise ValueError("canary defect")
        return {"log": ["canary fixed"]}

    def beside(state: State) -> list[Command[Any]]:
        ran.append("beside")
        return [Command(update={"log": [f"canary beside {number}"]}) for number in range(12)]

    builder = StateGraph(State)
    builder.add_node("first", lambda state: {"log": ["canary first"]})
    builder.add_node("beside", beside)
    builder.add_node("fails", fails)
    builder.add_node("last", lambda state: {"note": f"canary {len(state['log'])}"})
    builder.add_edge(START, "first")
    builder.add_edge("first", "beside")
    builder.add_edge("first", "fails")
    builder.add_edge(["beside", "fails"], "last")
    with backend.opened(wrap) as saver, pytest.raises(ValueError, match="canary defect"):
        backend.invoke(builder.compile(checkpointer=saver), {"log": ["canary in"]}, {**config(), "max_concurrency": 1})
    with backend.opened(wrap) as saver:
        failed = backend.state(builder.compile(checkpointer=saver), config())
        assert [task.error and "canary defect" in task.error for task in failed.tasks] == [None, True]
    broken = False
    with backend.opened(wrap) as saver:
        graph = builder.compile(checkpointer=saver)
        result = backend.invoke(graph, None, config())
        assert sorted(ran) == ["beside", "fails", "fails"]
        assert [line for line in result["log"] if "beside" in line] == [f"canary beside {number}" for number in range(12)]
        return failed, result, backend.history(graph, config())


def scenario_error_handler(backend: Backend, wrap: Any) -> Any:
    def fails(state: State) -> State:
        raise ValueError("canary defect")

    def handle(state: State, error: NodeError) -> Command[Any]:
        return Command(update={"note": f"handled {error.error} of {error.node}"}, goto="last")

    builder = StateGraph(State)
    builder.add_node("fails", fails, error_handler=handle)
    builder.add_node("last", lambda state: {"log": ["canary last"]})
    builder.add_edge(START, "fails")
    with backend.opened(wrap) as saver:
        graph = builder.compile(checkpointer=saver)
        result = backend.invoke(graph, {"log": ["canary in"]}, config())
        assert result["note"] == "handled canary defect of fails"
        return result, backend.history(graph, config())


def scenario_jump_to_the_parent(backend: Backend, wrap: Any) -> Any:
    """`Command(goto, update)` within a graph and, from a subgraph, in its parent; a `Send` by the same way."""
    sub = StateGraph(State)
    sub.add_node("inner", lambda state: Command(goto="leave", update={"log": ["canary inner"]}))
    sub.add_node(
        "leave",
        lambda state: Command(
            graph=Command.PARENT, goto=["landing", Send("single", {"note": "canary sent"})], update={"log": ["canary left"], "count": 3}
        ),
    )
    sub.add_edge(START, "inner")
    builder = StateGraph(State)
    builder.add_node("sub", sub.compile())
    builder.add_node("landing", lambda state: {"note": f"canary landed {state['count']}"})
    builder.add_node("single", lambda state: {"log": [state["note"]]})
    builder.add_edge(START, "sub")
    with backend.opened(wrap) as saver:
        graph = builder.compile(checkpointer=saver)
        result = backend.invoke(graph, {"log": ["canary in"]}, config())
        assert (result["count"], result["note"], "canary sent" in result["log"]) == (3, "canary landed 3", True)
        return result, backend.history(graph, config())


def scenario_twenty_sends(backend: Backend, wrap: Any) -> Any:
    """Twenty tasks, three of which pause, and a node that is deferred until all of them and a longer branch have ended."""

    def work(state: Any) -> State:
        answer = interrupt(f"canary {state['item']}?") if state["item"] in ("3", "7", "19") else "done"
        return {"log": [f"canary {state['item']} {answer}"]}

    builder = StateGraph(State)
    builder.add_node("split", lambda state: {"count": len(state["items"])})
    builder.add_node("work", work)
    builder.add_node("long", lambda state: {"log": ["canary long"]})
    builder.add_node("longer", lambda state: {"log": ["canary longer"]})
    builder.add_node("gather", lambda state: {"note": f"canary {len(state['log'])} of {state['count']}"}, defer=True)
    builder.add_edge(START, "split")
    builder.add_conditional_edges("split", lambda state: [Send("work", {"item": item}) for item in state["items"]], ["work"])
    builder.add_edge("split", "long")
    builder.add_edge("long", "longer")
    builder.add_edge("work", "gather")
    builder.add_edge("longer", "gather")
    with backend.opened(wrap) as saver:
        graph = builder.compile(checkpointer=saver)
        paused = backend.invoke(graph, {"items": [str(number) for number in range(20)]}, config())
        pauses = {pause.value: pause.id for pause in paused.pop("__interrupt__")}
        assert len(pauses) == 3
    with backend.opened(wrap) as saver:
        graph = builder.compile(checkpointer=saver)
        some = {id: f"answer to {value}" for value, id in pauses.items() if "19" not in value}
        between = backend.invoke(graph, Command(resume=some), config())
        assert [pause.value for pause in between["__interrupt__"]] == ["canary 19?"]
    with backend.opened(wrap) as saver:
        graph = builder.compile(checkpointer=saver)
        result = backend.invoke(graph, Command(resume="last answer"), config())
        assert result["note"] == "canary 22 of 20"
        return sorted(pauses), result, [(state.values, state.next) for state in backend.history(graph, config())]


def nested(saver: Any) -> Any:
    """Two subgraphs side by side; in each a graph within the graph pauses, in one of them twice."""

    def ask(state: State) -> State:
        return {"log": ["canary " + interrupt(f"canary {state['note']}?")]}

    def ask_twice(state: State) -> State:
        return {"log": [f"canary {interrupt('canary first?')} {interrupt('canary second?')}"]}

    def branch(name: str, node: Callable[[State], State]) -> Any:
        innermost = StateGraph(State)
        innermost.add_node("ask", node)
        innermost.add_edge(START, "ask")
        middle = StateGraph(State)
        middle.add_node("before", lambda state: {"note": name})
        middle.add_node("innermost", innermost.compile())
        middle.add_edge(START, "before")
        middle.add_edge("before", "innermost")
        graph = middle.compile()
        return lambda state: {"log": graph.invoke({"note": "", "log": []})["log"]}

    builder = StateGraph(State)
    builder.add_node("left", branch("left", ask))
    builder.add_node("right", branch("right", ask_twice))
    builder.add_node("join", lambda state: {"count": len(state["log"])})
    builder.add_edge(START, "left")
    builder.add_edge(START, "right")
    builder.add_edge(["left", "right"], "join")
    return builder.compile(checkpointer=saver)


def scenario_nested_interrupts(backend: Backend, wrap: Any) -> Any:
    found: list[Any] = []
    answers: Any = {"log": ["canary in"]}
    for expected in (["canary first?", "canary left?"], ["canary second?"], []):
        with backend.opened(wrap) as saver:
            graph = nested(saver)
            result = backend.invoke(graph, answers, config())
            pauses = sorted(result.pop("__interrupt__", []), key=lambda pause: pause.value)
            assert [pause.value for pause in pauses] == expected
            answers = Command(resume={pause.id: f"to {pause.value}" for pause in pauses})
            found.append((result, backend.state(graph, config(), subgraphs=True)))
    assert found[-1][0]["count"] == 3
    return found


def scenario_subgraph_memories(backend: Backend, wrap: Any) -> Any:
    """Subgraphs that remember from run to run (`checkpointer=True`), for one run (None), and not at all (False)."""

    def kept(checkpointer: Any) -> Any:
        sub = StateGraph(State)
        sub.add_node("add", lambda state: {"log": [f"canary {len(state.get('log', []))}"], "count": state.get("count", 0) + 1})
        sub.add_edge(START, "add")
        compiled = sub.compile(checkpointer=checkpointer)
        return lambda state: {"log": [f"canary {checkpointer} {compiled.invoke({'log': ['canary']})['count']}"]}

    builder = StateGraph(State)
    for name, checkpointer in (("thread", True), ("run", None), ("stateless", False)):
        builder.add_node(name, kept(checkpointer))
    builder.add_node("ask", lambda state: {"note": interrupt("canary on?")})
    builder.add_edge(START, "thread")
    builder.add_edge("thread", "run")
    builder.add_edge("run", "stateless")
    builder.add_edge("stateless", "ask")
    results = []
    for step in ({"log": []}, Command(resume="canary a"), {"log": []}, Command(resume="canary b")):
        with backend.opened(wrap) as saver:
            graph = builder.compile(checkpointer=saver)
            # LangGraph itself fails with a stateless subgraph under durability="sync".
            result = backend.invoke(graph, step, config(), durability="async")
            results.append((result, backend.state(graph, config(), subgraphs=True)))
    assert results[-1][0]["log"] == [f"canary {kind} {n}" for n in (1, 2) for kind, n in (("True", n), ("None", 1), ("False", 1))]
    return results


def scenario_breakpoints(backend: Backend, wrap: Any) -> Any:
    """Static breakpoints: of the graph, of one call, and on every node."""
    builder = StateGraph(State)
    for name in ("a", "b", "c"):
        builder.add_node(name, lambda state, name=name: {"log": [f"canary {name}"]})
    builder.add_edge(START, "a")
    builder.add_edge("a", "b")
    builder.add_edge("b", "c")
    found: dict[str, Any] = {}
    for name, compiled, called in (
        ("before", {"interrupt_before": ["b"]}, {}),
        ("after", {"interrupt_after": ["a", "b"]}, {}),
        ("call", {}, {"interrupt_before": ["c"], "interrupt_after": ["a"]}),
        ("all", {}, {"interrupt_before": "*"}),
    ):
        stops, given = [], {"log": ["canary in"]}
        while given is not None or stops[-1][1].next:
            with backend.opened(wrap) as saver:
                graph = builder.compile(checkpointer=saver, **compiled)
                result = backend.run(graph, "invoke", given, config(name), durability="sync", **called)
                stops.append((result, backend.state(graph, config(name))))
                given = None  # type: ignore[assignment]
        found[name] = stops
    assert {name: [stop.next for _, stop in stops] for name, stops in found.items()} == {
        "before": [("b",), ()],
        "after": [("b",), ("c",), ()],
        "call": [("b",), ("c",), ()],
        "all": [("a",), ("b",), ("c",), ()],
    }
    return found


def scenario_durability(backend: Backend, wrap: Any) -> Any:
    """A pause in a subgraph under each durability. What is kept on the way differs, what comes out does not."""
    sub = StateGraph(State)
    sub.add_node("ask", lambda state: {"log": [interrupt("canary?")]})
    sub.add_edge(START, "ask")
    below = sub.compile()
    builder = StateGraph(State)
    builder.add_node("before", lambda state: {"count": 1})
    builder.add_node("sub", lambda state: {"note": below.invoke({"log": []})["log"][0]})
    builder.add_node("after", lambda state: {"log": ["canary out"]})
    builder.add_edge(START, "before")
    builder.add_edge("before", "sub")
    builder.add_edge("sub", "after")
    found = {}
    for durability in ("sync", "async", "exit"):
        for step in ({"log": ["canary in"]}, Command(resume="canary yes")):
            with backend.opened(wrap) as saver:
                graph = builder.compile(checkpointer=saver)
                result = backend.invoke(graph, step, config(durability), durability=durability)
                states = [(state.values, state.next, state.metadata["step"]) for state in backend.history(graph, config(durability))]
                found[f"{durability} {type(step).__name__}"] = result, states
    kept = {name: len(states) for name, (_, states) in found.items() if "Command" in name}
    assert kept == {"sync Command": 5, "async Command": 5, "exit Command": 2}
    assert all(result["log"] == ["canary in", "canary out"] for name, (result, _) in found.items() if "Command" in name)
    return found


class Who(TypedDict):
    user: str


def scenario_context(backend: Backend, wrap: Any) -> Any:
    """A run's context reaches nodes and subgraphs, and is never stored: a resumed run has the one that it is given."""

    def greet(state: State, runtime: Runtime[Who]) -> State:
        return {"log": [f"canary {runtime.context['user']} {interrupt('canary?')}"]}

    sub = StateGraph(State, context_schema=Who)
    sub.add_node("greet", greet)
    sub.add_edge(START, "greet")
    builder = StateGraph(State, context_schema=Who)
    builder.add_node("sub", sub.compile())
    builder.add_edge(START, "sub")
    with backend.opened(wrap) as saver:
        graph = builder.compile(checkpointer=saver)
        first = backend.run(graph, "invoke", {"log": []}, config(), context={"user": "ada"})
        second = backend.run(graph, "invoke", Command(resume="yes"), config(), context={"user": "bob"})
        assert second["log"] == ["canary bob yes"]
        return first, second, backend.history(graph, config())


def scenario_pools(backend: Backend, wrap: Any) -> Any:
    """Many runs at once over one saver: a thread pool of the caller's, or tasks, and LangChain's own batches."""
    builder = StateGraph(State)
    builder.add_node("a", lambda state: {"log": [f"canary a {state['note']}"]})
    builder.add_node("b", lambda state: {"log": [f"canary b {state['note']}"]})
    builder.add_edge(START, "a")
    builder.add_edge(START, "b")
    inputs = [{"note": f"canary {number}", "log": []} for number in range(12)]
    with backend.opened(wrap) as saver:
        graph = builder.compile(checkpointer=saver)
        own = [config(f"own {number}") for number in range(12)]
        if isinstance(backend, AsyncBackend):

            async def all_at_once() -> Any:
                return await asyncio.gather(*(graph.ainvoke(given, at) for given, at in zip(inputs, own, strict=True)))

            pooled = backend.loop.run_until_complete(all_at_once())
        else:
            with ThreadPoolExecutor(6) as pool:
                pooled = list(pool.map(graph.invoke, inputs, own))
        batched = backend.run(graph, "batch", inputs, [config(f"batch {number}", max_concurrency=4) for number in range(12)])
        assert pooled == batched == [{**given, "log": [f"canary {node} {given['note']}" for node in "ab"]} for given in inputs]
        return pooled, [backend.state(graph, at).values for at in own]


SCENARIOS = [value for name, value in sorted(globals().items()) if name.startswith("scenario_")]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__.removeprefix("scenario_"))
@pytest.mark.parametrize("kind", [*SYNC_AND_ASYNC, *SOME])
def test_runs(kind: type[Backend], scenario: Any, keyring: Keyring, make_backend: Any) -> None:
    assert_same(kind, scenario, keyring, make_backend)


def cancelled(saver: Any, entered: asyncio.Event, ran: list[str]) -> Any:
    async def quick(state: State) -> State:
        ran.append("quick")
        return {"log": ["canary quick"]}

    async def slow(state: State) -> State:
        ran.append("slow")
        if ran.count("slow") == 1:
            entered.set()
            await asyncio.Event().wait()  # for ever
        return {"log": ["canary slow"]}

    builder = StateGraph(State)
    builder.add_node("first", lambda state: {"log": ["canary first"]})
    builder.add_node("quick", quick)
    builder.add_node("slow", slow)
    builder.add_edge(START, "first")
    builder.add_edge("first", "quick")
    builder.add_edge("first", "slow")
    return builder.compile(checkpointer=saver)


def scenario_cancelled(backend: Backend, wrap: Any) -> Any:
    """A run is cancelled while one of two parallel nodes works; what the other one did is kept, and the run goes on later. Whether that
    node's task is stored as cancelled is left to chance, bare too."""
    assert isinstance(backend, AsyncBackend)
    ran: list[str] = []

    async def cancel(saver: Any) -> None:
        entered = asyncio.Event()
        graph = cancelled(saver, entered, ran)
        run = asyncio.create_task(graph.ainvoke({"log": ["canary in"]}, config(), durability="sync"))
        await asyncio.wait_for(entered.wait(), 30)
        while not (await graph.aget_state(config())).tasks[0].result:  # until the quick one's writes are stored
            await asyncio.sleep(0)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run

    with backend.opened(wrap) as saver:
        backend.loop.run_until_complete(asyncio.wait_for(cancel(saver), 60))
    with backend.opened(wrap) as saver:
        graph = cancelled(saver, asyncio.Event(), ran)
        paused = backend.state(graph, config())
        result = backend.invoke(graph, None, config())
        assert (sorted(ran), len(result["log"])) == (["quick", "slow", "slow"], 4)
        return paused.values, result, [(state.values, state.next) for state in backend.history(graph, config())]


# Not on AsyncSqliteSaver: cancelled within a transaction it leaves its database locked, bare too.
@pytest.mark.parametrize("kind", [AsyncMemory, AsyncPostgres])
def test_cancelled(kind: type[AsyncBackend], keyring: Keyring, make_backend: Any) -> None:
    assert_same(kind, scenario_cancelled, keyring, make_backend)
