"""Write sections of docs/results.md from what benchmarks wrote.

    python scripts/write_results.py FILE.json [FILE.json ...]

Each file is the ``--json`` of a benchmark; the section of that benchmark is replaced, the others stay as they are.
"""

import argparse
import json
import re
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[1] / "docs" / "results.md"
Results = dict[str, Any]

RANKINGS = {
    "sentence_transformers": "sentence-transformers, pooled float vector, 1,536 bytes",
    "pooled": "pooled canonical vector, 768 bytes",
    "codes_244_bytes": "codes, first 244 bytes",
    "codes_484_bytes": "codes, first 484 bytes",
    "codes": "codes, 964 bytes",
    "bm25": "BM25 alone (SQLite FTS5)",
    "auto": "codes, as many dimensions as a query needs",
    "hybrid": "hybrid: codes and BM25, what `search` does",
    "rerank_codes": "hybrid's first 100, reranked from their codes",
    "rerank": "hybrid's first 100, reranked from their text",
}
SETS = {"scifact": "SciFact", "nq_utd": "NQ-UTD", "covidqa": "COVID-QA"}
_PLOT = "![Recall against bytes](recall.png)"  # --plot docs/recall.png
PARTITIONS = {
    "plain": "plain",
    "lossy": "with 20% loss and 200 ms delay",
    "killed": "with two nodes killed (`SIGKILL`) and started again",
}
CODE_SIZES = (52, 100, 148, 196, 244, 388, 484, 964)
PEERS = {
    "faiss_rabitq": "FAISS RaBitQ",
    "faiss_rabitq_fastscan": "FAISS RaBitQ fast-scan",
    "usearch_i8": "usearch, int8",
    "usearch_b1": "usearch, 1 bit",
}


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _share(value: float | None, digits: int = 3) -> str:
    """Format a number below 1 as the page does: .618."""
    return "-" if value is None else re.sub(r"^(-?)0\.", r"\1.", f"{value:.{digits}f}")


def _number(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def _paragraph(template: str, found: Results, **more: object) -> str:
    """Fill a template with results, in lines of bounded width."""
    return textwrap.fill(" ".join(template.split()).format_map({**found, **more}), 120)


def ranking(found: Results) -> str:
    """Tell how well each ranking orders the documents."""
    rows = []
    for key, name in RANKINGS.items():
        if found[f"average_{key}_ndcg_at_10"] is None:
            continue  # a peer that was not named
        values = [_share(found[f"{one}_{key}_ndcg_at_10"]) for one in (*SETS, "average")]
        above = f"average_{key}_over_pooled"
        ends = (
            [f"{100 * found[one]:+.1f}" for one in (above, f"{above}_low", f"{above}_high")] if above in found else []
        )
        rows.append([name, *values, f"{ends[0]} ({ends[1]} to {ends[2]})" if ends else ""])
    header = ["nDCG@10", *SETS.values(), "average", "above pooled (95 % interval)"]
    return f"On all queries of three sets that nothing was trained on:\n\n{_table(header, rows)}"


def reranking(found: Results) -> str:
    """Tell how fast candidates are reranked."""
    rows = [
        [
            f"from text, {threads} thread{'s' * (threads > 1)}",
            f"{_number(found[f'from_text_ms{suffix}'], 0)} ms",
            f"{_number(found[f'torch_ms{suffix}'], 0)} ms",
            _number(found[f"ratio_from_text_vs_torch{suffix}"]),
        ]
        for threads, suffix in ((1, ""), (2, "_2_threads"))
    ]
    text = """{candidates} candidates of {dataset}, {tokens_median:.0f} tokens in the median. From stored codes, the
        query's embedding included: {from_codes_p50_ms:.2f} ms (p99 {from_codes_p99_ms:.2f} ms)."""
    return f"{_paragraph(text, found)}\n\n{_table(['', 'Zenso', 'MaxSim in PyTorch fp32', 'ratio'], rows)}"


def canonical(found: Results) -> str:
    """Tell how fast and how exact canonical inference is."""
    speed = []
    for engine, name in (("wasm", "WebAssembly"), ("native", "native twin")):
        for peer, peer_name in (("onnx", "ONNX Runtime"), ("sentence_transformers", "sentence-transformers")):
            ratio = f"ratio_{engine}_vs_{peer}"
            speed.append([f"{name} over {peer_name} fp32", _number(found[ratio]), _number(found[f"{ratio}_2_threads"])])
    exact = [
        [name, *(_share(found[f"{key}{model}"], 6) for model in ("", "_mpnet"))]
        for key, name in (
            ("min_cosine_vs_float64", "least cosine with the float64 forward pass"),
            ("mean_cosine_vs_float64", "mean"),
        )
    ]
    exact += [
        [name, *(_number(found[key.format(model)], 3) for model in ("minilm", "mpnet"))]
        for key, name in (
            ("stsb_spearman_{}", "Spearman on STS-B test, of 100: canonical"),
            ("stsb_spearman_{}_float", "the float model"),
        )
    ]
    what = """{texts:,} docstrings of the standard library, {tokens_shortest} to {tokens_longest} tokens ({tokens:,}
        in all); mpnet every fourth of them. Tokens a second, as a ratio:"""
    rest = """Same bits alone, in a batch, in another order, on one thread and on two: {same}. Floating-point
        instructions in the module (of {opcodes:,}): {float_opcodes}. One query of 12 tokens:
        {latency_12_tokens_p50_ms:.2f} ms in the median. Peak memory of a process that loads the model and
        embeds these texts: {peak_memory_mb:.0f} MB, with WebAssembly {peak_memory_mb_wasm:.0f} MB. Digests of
        the same texts on nine engines and processors are in [engines.md](engines.md)."""
    parts = [
        _paragraph(what, found),
        _table(["", "one thread", "two threads"], speed),
        _table(["", "all-MiniLM-L6-v2", "all-mpnet-base-v2"], exact),
        _paragraph(rest, found, same="yes" if found["identical"] else "no"),
    ]
    return "\n\n".join(parts)


def bitdelta(found: Results) -> str:
    """Tell how well codes of vectors keep the nearest neighbours."""
    rows = []
    for size in CODE_SIZES:
        peer = found[f"zenso_{size}_rabitq"]
        rows.append(
            [
                f"{size}",
                _share(found[f"zenso_{size}_recall_at_10"]),
                f"{_share(found[f'{peer}_recall_at_10'])} ({found[f'{peer}_bytes']} bytes)",
                _share(found[f"zenso_{size}_mean_cosine"], 4),
                _number(found[f"zenso_{size}_encode_ms"]),
            ]
        )
    others = [
        [name, f"{found[f'{name}_bytes']}", _share(found[f"{name}_recall_at_10"])]
        for name in sorted(key.removesuffix("_bytes") for key in found if re.fullmatch(r"(o?pq|sq)_\d+_bytes", key))
    ]
    what = """{documents:,} documents and {queries:,} queries, vectors of {model}; both sides learned on
        {training_vectors:,} vectors of other texts. RaBitQ is FAISS's, with and without a rotation, whichever
        is better, at the nearest number of bytes that is not below:"""
    codes = _table(["bytes", "recall@10", "RaBitQ", "mean cosine", "encode, ms"], rows)
    return f"{_paragraph(what, found)}\n\n{codes}\n\n{_table(['FAISS', 'bytes', 'recall@10'], others)}\n\n{_PLOT}"


def search(found: Results) -> str:
    """Tell how fast a large memory is searched."""
    rows = [
        [
            "Zenso, codes",
            _number(found["search_p50_ms"]),
            _number(found["search_p99_ms"]),
            _share(found["recall_at_10"]) + " of scoring every code",
            _number(found["build_seconds"], 0),
            _number(found["resident_bytes_per_document"], 0),
        ]
    ]
    for key, name in PEERS.items():
        if found.get(f"{key}_p50_ms") is not None:
            rows.append(
                [
                    name,
                    _number(found[f"{key}_p50_ms"]),
                    _number(found[f"{key}_p99_ms"]),
                    _share(found[f"{key}_recall_at_10_pooled"]) + " of pooled vectors",
                    _number(found[f"{key}_build_seconds"], 0),
                    _number(found[f"{key}_bytes_per_document"], 0),
                ]
            )
    header = ["", "p50, ms", "p99, ms", "recall@10", "build, s", "bytes a document in memory"]
    what = """{documents:,} documents: {real_documents:,} real ones, repeated with {flipped_share:.1%} of their bits
        flipped; {queries} queries, one thread."""
    rest = """The first stage reads {scan_gb_per_s:.1f} GB/s, {scan_share_of_bandwidth:.0%} of what reading memory
        reaches in the same run. A cold process opens the memory in {open_ms:.0f} ms. On disk a document takes
        {disk_bytes_per_document:,.0f} bytes, text, words and vectors included;
        {disk_matrix_bytes_per_document:,.0f} of them are the code matrix. After {deletes:,} deletes and with
        {filters:,} filters, deleted or filtered documents were seen {seen} times. With the query's text
        embedded too: {search_from_text_p50_ms:.1f} ms by codes, {hybrid_from_text_p50_ms:.1f} ms hybrid (p50)."""
    more = {"open_ms": 1000 * found["open_seconds"], "seen": found["deleted_seen"] + found["filtered_seen"]}
    return f"{_paragraph(what, found)}\n\n{_table(header, rows)}\n\n{_paragraph(rest, found, **more)}"


def crash(found: Results) -> str:
    """Tell what survived."""
    text = """{rounds} rounds, {operations_done:,} acknowledged operations, the process killed at a random moment:
        {failures} failures (memory not opened, check not clean, state lost, wrong search). Bytes flipped in
        {segment_flips} segment files: {segment_flips_detected} detected, {segment_flips_rebuilt} rebuilt. Bytes
        flipped in {database_flips} databases: {database_flips_said} said, {database_flips_without_effect}
        without any effect, {database_flips_missed} missed. {full_disks} full disks: nothing lost."""
    return _paragraph(text, found)


def concurrency(found: Results) -> str:
    """Tell what readers saw while one wrote."""
    text = """{readers} readers and one writer, {searches:,} searches: {searches_of_mixed_states} of mixed states; a
        new document was seen by another process after {seen_after_ms_median:.0f} ms in the median,
        {seen_after_ms_longest:.0f} ms at most."""
    return _paragraph(text, found)


SERVED = {
    "single": "a query, embedded",
    "batch": "32 passages, embedded",
    "rerank": "50 passages, reranked",
    "search": "search by codes",
    "hybrid": "search by codes and words",
}


def served(found: Results) -> str:
    """Tell how many requests a server answers, and how fast."""
    rows = []
    for key, name in SERVED.items():
        for connections in (1, 8, 64):
            one = f"{key}_{connections}"
            if found[f"{one}_rps"] is None:
                continue
            theirs = found[f"peer_{one}_rps"]
            rows.append(
                [
                    name,
                    f"{connections}",
                    *(_number(found[f"{side}{one}_rps"], 1) for side in ("", "peer_")),
                    _number(theirs and found[f"{one}_rps"] / theirs),
                    *(
                        f"{_number(found[f'{side}{one}_p50_ms'], 0)} ({_number(found[f'{side}{one}_p99_ms'], 0)})"
                        for side in ("", "peer_")
                    ),
                    *(_number(found[f"{side}{one}_cpu_ms"], 1) for side in ("", "peer_")),
                ]
            )
    header = ["", "connections", "requests/s", "infinity-emb", "ratio", "p50 (p99), ms", "infinity-emb"]
    what = """{machine_cores} processors for the server and for what sends the requests; queries of
        {query_tokens_median:.0f} tokens and passages of {passage_tokens_median:.0f} in the median;
        {documents:,} documents are searched. infinity-emb {version_infinity_emb} runs the same model in PyTorch
        fp32. It reranks with cross-encoders only, so its row is that of embedding the same 51 texts; it has no
        search, so its row is that of its engine with FAISS's exact inner product behind it. The last columns are
        processor milliseconds a request."""
    return f"{_paragraph(what, found)}\n\n{_table([*header, 'CPU, ms', 'infinity-emb'], rows)}"


def soak(found: Results) -> str:
    """Tell how a server stood a long mixed load."""
    text = """{minutes:g} minutes, {clients} clients, {requests_per_s:.0f} requests a second ({embeds:,} embeddings,
        {reranks:,} reranks, {searches:,} searches, {adds:,} adds, {deletes:,} deletes), {left_early:,} clients that
        left in the middle, {half_requests:,} halves of requests, {garbage:,} times garbage, {refused_clearly:,}
        requests refused with a clear error, and a SIGKILL in the middle (back after {restart_seconds:.1f} s):
        {wrong_answers} wrong answers, {writes_lost} of {acknowledged_writes:,} acknowledged writes lost,
        {deletes_undone} deletes undone, {check_findings} findings of the check. Memory: {memory_mb_median:.0f} MB in
        the median, {memory_mb_max:.0f} MB at most, {slope} MB an hour."""
    return _paragraph(text, found, slope=_number(found["memory_slope_mb_per_hour"], 1))


ATTACKED = {
    "random": "random code",
    "large_norm": "large norm",
    "sign_flip": "sign flip",
    "alie": "ALIE",
    "inner_product": "inner product",
    "stolen_code": "another text's code",
    "near_duplicates": "colluding near-duplicates",
    "spam": "spam",
    "flood": "flood",
    "sybil": "Sybil keys",
    "collusion": "collusion",
    "drift": "drift",
    "drift_far": "far drift",
}


def _cut_off(share: float | None, seconds: float | None) -> str:
    return "none" if not share or seconds is None else f"{share:.0%} after {seconds:.0f} s"


def hostile(found: Results) -> str:
    """Tell what hostile nodes reach."""
    what = """{honest} honest nodes and {hostile_30} or {hostile_49} hostile peers, {lessons} lessons, of which
        {clean_honest_submitted} are submitted under each attack (those of wrong codes share them), {queries} queries.
        Without hostile peers recall@5 is {clean_recall_at_5:.2f}, after users' votes {clean_recall_at_5_voted:.2f};
        {clean_honest_refused} lessons are refused. What the columns mean is in `bench/README.md`."""
    parts = [_paragraph(what, found)]
    header = ["", "offered", "held in the end (most)", "keys cut off", "peers cut off", "honest cut off"]
    header += ["honest refused / missing", "recall@5 of clean", "after votes", "CPU", "MB"]
    for share in (30, 49):
        if found[f"hostile_{share}"] is None:
            continue
        rows = []
        for attack, name in ATTACKED.items():
            one = {key.removeprefix(f"{attack}_{share}_"): found[key] for key in found if f"{attack}_{share}_" in key}
            if not one:
                continue
            offered = one["hostile_messages"] if attack == "flood" else one["hostile_offered"]
            rows.append(
                [
                    name,
                    _number(offered, 0),
                    f"{_number(one['hostile_held'], 1)} ({one['hostile_held_most']})",
                    _cut_off(one["keys_cut_off"], one["keys_cut_off_seconds"]),
                    _cut_off(one["peers_cut_off"], one["peers_cut_off_seconds"]),
                    f"{one['honest_cut_off']}",
                    f"{one['honest_refused']} of {one['honest_submitted']} / {one['honest_missing']}",
                    _number(one["recall_at_5_of_clean"]),
                    _number(one["recall_at_5_voted_of_clean"]),
                    _number(one["cpu_share_mean"]),
                    _number(one["memory_mb_max"], 0),
                ]
            )
        parts.append(f"{found[f'hostile_{share}']} hostile peers:\n\n{_table(header, rows)}")
    return "\n\n".join(parts)


RULES = {
    "mean": "mean",
    "median": "median",
    "trimmed_mean": "trimmed mean",
    "geometric_median": "geometric median",
    "krum": "Krum",
    "multi_krum": "Multi-Krum",
    "centred_clipping": "centred clipping",
}


def aggregated(found: Results) -> str:
    """Tell what ranking is left of embeddings that hostile nodes report too."""
    what = """{documents:,} documents and {queries} queries of {dataset}; each document's embedding is reported by
        {honest_30} honest nodes and {hostile_30} hostile ones (30 %), or {honest_49} and {hostile_49} (49 %).
        nDCG@10 is {canonical_ndcg_at_10:.3f} with canonical vectors, {clean_30_ndcg_at_10:.3f} and
        {clean_49_ndcg_at_10:.3f} with the mean of the honest reports, recall@10 {canonical_recall_at_10:.3f},
        {clean_30_recall_at_10:.3f} and {clean_49_recall_at_10:.3f}. Of the clean run is left,
        by nDCG@10 or recall@10, whichever is less:"""
    parts = [_paragraph(what, found)]
    attacks = [key for key in ATTACKED if f"mean_{key}_30_of_clean" in found]
    for share in (30, 49):
        rows = []
        for mixing in ("", "mixed_"):
            for rule, name in RULES.items():
                if mixing and rule == "mean":
                    continue
                values = [found[f"{mixing}{rule}_{attack}_{share}_of_clean"] for attack in (*attacks, "worst")]
                shown = ["refused" if value is None else f"{100 * value:.1f}" for value in values]
                rows.append([f"{name}{', mixed' if mixing else ''}", *shown])
        names = [ATTACKED[key].removesuffix(" code") for key in attacks]
        parts.append(f"{share} % hostile, in percent:\n\n{_table(['', *names, 'worst'], rows)}")
    return "\n\n".join(parts)


def partition(found: Results) -> str:
    """Six hosts cut in two, and healed."""
    rows = [
        [
            title,
            _number(found[f"{name}_partition_seconds"], 0),
            f"{found[f'{name}_acknowledged']:,}",
            f"{found[f'{name}_held_at_healing_min']:,} to {found[f'{name}_held_at_healing_max']:,}",
            f"{found[f'{name}_held_after']:,}",
            _number(found[f"{name}_healing_seconds"], 1),
            str(sum(found[f"{name}_{key}"] for key in ("acknowledged_missing", "withdrawn_standing", "lessons_lost"))),
            "yes" if found[f"{name}_nodes_agree"] else "no",
        ]
        for name, title in PARTITIONS.items()
    ]
    header = [
        "partition",
        "seconds",
        "writes acknowledged meanwhile",
        "records of a node when it is healed",
        "later, on all",
        "seconds until all agree",
        "lost or undone",
        "same state",
    ]
    text = """{hosts} hosts of one machine (network namespaces), three a side; nodes with their default limits, which
    submit, vote and withdraw on both sides all the while. Loss and delay are of each packet, in each direction, all the
    time, so a round trip takes {round_trip:.0f} ms where nothing is lost; the kernel's TCP ({congestion_control}) runs
    over it. The process that plays the network forwards {network_packets_per_s:,.0f} packets a second if it has to. In
    the last row a node of each side is killed, and away for the second third of the time. All nodes share the
    {machine_cores} processors of the machine with whatever else runs there: a partition is healed when the last write
    that was begun is answered and the killed nodes run again, which may be later than after the minute."""
    table = _table(header, rows)
    return f"{_paragraph(text, found, round_trip=2 * found['lossy_delay_ms'])}\n\n{table}"


def robust(found: Results) -> str:
    """Tell how fast robust aggregation is beside ByzFL, and how near to it."""
    rows = [
        [
            name,
            *(_number(found[f"{rule}{side}_ms"], 2) for side in ("", "_byzfl_numpy", "_byzfl_torch")),
            _number(found[f"{rule}_times_faster"]),
            f"{found[f'{rule}_max_difference']:.0e}",
        ]
        for rule, name in {**RULES, "mixing": "nearest-neighbour mixing"}.items()
    ]
    header = ["ms", "Zenso", "ByzFL, NumPy", "ByzFL, PyTorch", "ratio to the faster", "largest difference"]
    what = """{rows} reports of {dimensions:,} dimensions, one thread each, with ByzFL's settings for each rule. Its
        version is {peer_version_byzfl}."""
    rest = """The median of {large_median_rows:,} x {dimensions:,}: {large_median_float32_1_threads_ms:.0f} ms on one
        thread, {large_median_float32_2_threads_ms:.0f} ms on two; of int16, which gives the same bits anywhere,
        {large_median_int16_2_threads_ms:.0f} ms on two. What each rule tolerates is in [robust.md](robust.md)."""
    return f"{_paragraph(what, found)}\n\n{_table(header, rows)}\n\n{_paragraph(rest, found)}"


def network(found: Results) -> str:
    """Tell how fast records spread, and how a node that was away catches up."""
    text = """{nodes} nodes on the {machine_cores} processors of one machine, each of which checks all records. A
        record that one submits is on all of them after {spread_p50_ms:.0f} ms in the median of
        {spread_records} (p99 {spread_p99_ms:.0f} ms). Of records of many keys they take
        {sustained_records_per_s:.0f} a second, each node all of them, with
        {sustained_cpu_ms_per_record_and_node:.1f} ms of processor time for one; a record of
        {record_bytes_mean:,.0f} bytes is {wire_bytes_per_record_and_node:,.0f} bytes on the wire for a node, copies of
        other peers included. A node that missed {missed_records:,} records holds them {catch_up_seconds:.0f} s after
        it listens again ({catch_up_records_per_s:.0f} a second). Refused meanwhile: {refused}."""
    return _paragraph(text, found)


def network_soak(found: Results) -> str:
    """Tell how nodes stood an hour of load."""
    text = """{nodes} nodes, {minutes:g} minutes: {lessons:,} lessons and {deletions:,} deletions by gossip,
        {submitted:,} submitted and {voted:,} votes through the nodes, {searches:,} searches (p50 {search_p50_ms:.0f} ms
        on the loaded machine), one node killed and started again. {failed} requests failed. In the end all agree after
        {converged_seconds:.0f} s on {records:,} records, of which {experiences:,} lessons stand; {acknowledged_lost}
        acknowledged ones and {records_missing} of those sent are missing. Memory of a node: {memory_mb_warm_mean:.0f}
        MB after a fifth of the time, {memory_mb_end_mean:.0f} MB at the end, growing by {slope} MB an hour; libp2p was
        started anew {transport_restarts} times."""
    return _paragraph(text, found, slope=_number(found["memory_slope_mb_per_hour_mean"], 1))


SECTIONS: dict[str, tuple[str, Callable[[Results], str]]] = {
    "quality": ("Ranking", ranking),
    "rerank": ("Reranking", reranking),
    "canonical": ("Canonical inference", canonical),
    "bitdelta": ("Codes of vectors", bitdelta),
    "search": ("Search", search),
    "crash": ("Crashes", crash),
    "concurrency": ("Concurrency", concurrency),
    "server": ("Server", served),
    "soak": ("An hour of mixed load", soak),
    "robust": ("Robust aggregation", robust),
    "network": ("A network of nodes", network),
    "network_soak": ("An hour of eight nodes", network_soak),
    "hostile": ("Hostile nodes", hostile),
    "aggregated": ("Reports of hostile nodes", aggregated),
    "partition": ("Partitions of the network", partition),
}


def main() -> None:
    """Replace the sections of the benchmarks given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    page = PAGE.read_text("utf-8")
    head, *parts = re.split(r"^## ", page, flags=re.MULTILINE)
    sections = {part.partition("\n")[0]: part.partition("\n")[2].strip() for part in parts}
    for file in parser.parse_args().files:
        found = json.loads(file.read_text("utf-8"))
        title, render = SECTIONS[found["command"].split()[3]]
        sections[title] = f"`{found['command']}`\n\n{render(found)}"
    order = [title for title, _ in SECTIONS.values() if title in sections]
    PAGE.write_text(head + "\n\n".join(f"## {title}\n\n{sections[title]}" for title in order) + "\n", "utf-8")


if __name__ == "__main__":
    main()
