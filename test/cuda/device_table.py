"""Keeps the results of test/cuda/device.sh and makes its table; standard library only.

device_table.py table DIR                      parts.json and peers.json -> results.json, results.md and standard output
device_table.py record DIR PART STATE SECONDS [--log FILE] [--ncu FILE] [--check FILE...] [--about KEY=VALUE...]
device_table.py resume DIR EARLIER             takes over what an earlier run has done
device_table.py run DIR [--about ...]          keeps what holds for the whole run
device_table.py done DIR PART [--about ...]    exit code 0 if the part need not run again
device_table.py golden FIXTURE FILE            the golden cases as C++ initialisers, as run.mjs has them
"""

import argparse
import csv
import json
import os
import re
import shutil
import sys

TIMED = ("timings", "timings-rest", "peers", "ncu")  # these hold for one card only
WAYS = ("graph", "compiled, graph", "transformers")
WAY_TITLES = ("torch, CUDA graph", "torch.compile, CUDA graph", "transformers, two forwards")


def read(path, otherwise):
    try:
        with open(path) as file:
            return json.load(file)
    except (FileNotFoundError, ValueError):
        return otherwise


def write(path, value):
    text = value if isinstance(value, str) else json.dumps(value, indent=1) + "\n"
    with open(path + ".new", "w") as file:
        file.write(text)
    os.replace(path + ".new", path)


def parts_of(folder):
    return read(os.path.join(folder, "parts.json"), {"run": {}, "parts": {}})


def save_parts(folder, kept):
    write(os.path.join(folder, "parts.json"), kept)


def about(pairs):
    return dict(pair.split("=", 1) for pair in pairs)


# ---- what a part leaves


def from_log(text):
    """What the check's printed lines say: for a run that ended before it wrote its JSON."""
    found = {}
    failures = [line.strip() for line in text.splitlines() if line.startswith("FAIL")]
    counts = re.findall(r"^(\d+) passed, (\d+) failed$", text, re.M)
    if counts:
        found.update(passed=sum(int(p) for p, _ in counts), failed=sum(int(f) for _, f in counts))
    elif failures:
        found["failed"] = len(failures)
    if failures:
        found["failures"] = failures[:50]
    device = re.search(r"^(.+), sm_(\d+), (\d+) GiB; copies at (\d+) GB/s", text, re.M)
    if device:
        numbers = zip(("sm", "memory_gib", "copy_gb_s"), map(int, device.groups()[1:]))
        found["device"] = {"name": device[1], **dict(numbers)}
    timing = re.compile(r"^(\S.*?)\s+([\d.]+) us\s+([\d.]+) MB\s+limit\s+([\d.]+) us", re.M)
    timings = [
        {"name": name, "us": float(us), "bytes": float(mb) * 1e6, "limit_us": float(limit)}
        for name, us, mb, limit in timing.findall(text)
    ]
    if timings:
        found["timings"] = timings
    return found


def from_check(paths, text):
    """The JSON of one or several runs of the check, their log filling in for those that are missing."""
    runs = [run for run in (read(path, None) for path in paths) if run]
    found = from_log(text)
    if not runs:
        return found
    timings = {timing["name"]: timing for timing in found.get("timings", [])}
    timings.update((timing["name"], timing) for run in runs for timing in run.get("timings", []))
    if len(runs) == len(paths):  # else the counts of the log are the fuller ones
        found["passed"] = sum(run.get("passed", 0) for run in runs)
        found["failed"] = sum(run.get("failed", 0) for run in runs)
        found["failures"] = [failure for run in runs for failure in run.get("failures", [])][:50]
    found["timings"] = list(timings.values())
    found["device"] = runs[0].get("device") or {}
    return found


METRICS = {  # of ncu, in its base units
    "gpu__time_duration.sum": "ns",
    "dram__bytes.sum": "bytes",
    "dram__throughput.avg.pct_of_peak_sustained_elapsed": "memory_percent",
    "sm__warps_active.avg.pct_of_peak_sustained_active": "occupancy_percent",
    "launch__grid_size": "blocks",
    "launch__block_size": "threads",
    "launch__registers_per_thread": "registers",
}


def from_ncu(path):
    """Rows of `ncu --csv --page raw --print-units base`: a line of names, a line of units, then a line a launch."""
    try:
        with open(path) as file:
            lines = [line for line in file if line.startswith('"')]
    except FileNotFoundError:
        return {}
    names, launches = [], []
    for row in csv.reader(lines):
        if row[0] == "ID":
            names = row
            continue
        launch = dict(zip(names, row))
        if not launch.get("Kernel Name"):
            continue  # the units
        name = re.sub(r"<unnamed>::|\(anonymous namespace\)::|^void ", "", launch["Kernel Name"])
        entry = {"kernel": re.split("[<(]", name)[0].split("::")[-1]}
        for metric, name in METRICS.items():
            try:
                entry[name] = float(launch[metric].replace(",", ""))
            except (KeyError, ValueError):
                continue
        launches.append(entry)
    return {"launches": launches}


def record(args):
    kept = parts_of(args.folder)
    text = ""
    if args.log:
        with open(args.log, errors="replace") as file:
            text = file.read()
    result = {}
    if args.part not in ("build", "peers", "ncu"):
        result = from_check(args.check, text)
        if "ERROR SUMMARY" in text or "RACECHECK SUMMARY" in text:
            result["summary"] = re.findall(r"(?:ERROR|RACECHECK) SUMMARY: (.*)", text)[-1]
    elif args.part == "ncu":
        result = from_ncu(args.ncu)
        if not result.get("launches") and args.state == "done":
            args.state = "failed"
    entry = {"state": args.state, "seconds": args.seconds, **about(args.about)}
    if args.state != "done" and text:
        entry["last_lines"] = [line[:300] for line in text.strip().splitlines()[-5:]]
    earlier = kept["parts"].get(args.part, {})
    if args.state == "not run" and earlier.get("result"):
        return  # an earlier run's partial result is worth more than the news that there was no time
    kept["parts"][args.part] = {**entry, "result": result}
    save_parts(args.folder, kept)


def resume(args):
    earlier = parts_of(args.earlier)
    if not earlier["parts"]:
        sys.exit(f"{args.earlier} has no parts.json with results: give --resume the folder that an earlier run wrote.")
    if os.path.realpath(args.earlier) == os.path.realpath(args.folder):
        return
    save_parts(args.folder, earlier)
    for name in ("peers.json", "ncu.csv", "logs.txt"):
        path = os.path.join(args.earlier, name)
        if os.path.exists(path):
            shutil.copyfile(path, os.path.join(args.folder, name))


def done(args):
    """A part stands if it passed with the same sources, and a timing if it was on this card."""
    part, now = parts_of(args.folder)["parts"].get(args.part, {}), about(args.about)
    same = part.get("state") == "done"
    if args.part in TIMED:
        same = same and part.get("card") == now.get("card")
    if args.part != "peers":
        same = same and part.get("sources") == now.get("sources")
    sys.exit(0 if same else 1)


def run_facts(args):
    kept = parts_of(args.folder)
    kept["run"] = about(args.about)
    save_parts(args.folder, kept)


def golden(args):
    with open(args.fixture) as file:
        cases = json.load(file)["cases"]

    def value(x):
        return "-infinity" if x in ("-Infinity", None) else str(x)

    def values(xs):
        return "{" + ", ".join(map(value, xs)) + "}"

    lines = []
    for c in cases:
        numbers = [value(c[name]) for name in ("k", "a", "t0", "sigma", "tmin", "js", "temperature")]
        fields = [json.dumps(c["name"]), values(c["base"]), values(c["instructed"]), *numbers, values(c["probs"])]
        lines.append("{" + ", ".join(fields) + "},\n")
    write(args.file, "".join(lines))


# ---- the table


def number(x):
    if x is None:
        return ""
    return f"{x:,.0f}" if abs(x) >= 100 else f"{x:.1f}" if abs(x) >= 10 else f"{x:.2f}"


def table(heads, rows):
    if not rows:
        return []
    cells = [[str(cell) for cell in row] for row in rows]
    # Numbers read best from the right; the first column is a name.
    line = ["---"] + [
        "---:" if all(re.match(r"^[\d.,x ]*$", row[i]) for row in cells) else "---" for i in range(1, len(heads))
    ]
    return [f"| {' | '.join(row)} |" for row in (heads, line, *cells)] + [""]


def ratio(peer, ours):
    return f"{number(peer)} ({peer / ours:.2f}x)" if ours else number(peer)


def checks_table(parts, sources):
    rows = []
    for name, part in parts.items():
        result = part.get("result", {})
        note = result.get("summary", "")
        if part["state"] != "done" and not result.get("failed"):
            note = note or (part.get("last_lines") or [""])[-1]
        if name != "peers" and part.get("sources") != sources:
            note = f"of other sources, {part.get('sources')}; {note}"
        rows.append(
            [
                name,
                part["state"],
                result.get("passed", ""),
                result.get("failed", ""),
                part["seconds"],
                note[:120].replace("|", "/"),
            ]
        )
    lines = table(["part", "state", "passed", "failed", "seconds", "note"], rows)
    failures = [
        f"- {name}: {text}" for name, part in parts.items() for text in part.get("result", {}).get("failures", [])[:10]
    ]
    return lines + (["Failures (at most 10 a part):", "", *failures, ""] if failures else [])


def timings_table(timings):
    heads = ["launches", "us", "limit us", "times the limit"]
    rows = [
        [
            t["name"],
            number(t["us"]),
            number(t.get("limit_us")),
            f"{t['us'] / t['limit_us']:.2f}" if t.get("limit_us") else "",
        ]
        for t in timings
    ]
    return table(heads, rows)


def versus(label, ours, peers, ways, titles):
    """Ours against each way of the peers: microseconds, and in brackets how many times ours they take."""
    heads = [label, "ours, us", *titles]
    rows = []
    for key in dict.fromkeys([*ours, *peers]):
        mine = ours.get(key)
        cells = []
        for way in ways:
            peer = peers.get(key, {}).get(way)
            cells.append("" if peer is None else "failed" if "error" in peer else ratio(peer["us"], mine))
        rows.append([key, number(mine), *cells])
    return table(heads, rows)


def decode_key(name):
    """'Qwen2.5-1.5B, 2 rows' of a decoding step's name."""
    match = re.match(r"decode step, ([^,]+), bf16, (\d+) rows", name)
    return f"{match[1].removesuffix(chr(39) + 's sizes')}, {match[2]} rows" if match else None


def step_key(name):
    """'step and sample, 1 queries, V = 151936' of a name of ours or of a peer."""
    match = re.match(r"(step and sample|sample, top-p 0\.95), (\d+) quer\w+, V = (\d+)", name)
    return f"{match[1]}, {match[2]} queries, V = {match[3]}" if match else None


def comparisons(timings, items):
    lines = []
    subjects = (
        ("decoding step", decode_key, WAYS, WAY_TITLES),
        ("step alone", step_key, ("eager", "graph", "compiled, graph"), ("torch, eager", *WAY_TITLES[:2])),
    )
    for label, key_of, ways, titles in subjects:
        ours = {key_of(t["name"]): t["us"] for t in timings if key_of(t["name"])}
        peers = {}
        for item in items:
            if key_of(item["name"]):
                peers.setdefault(key_of(item["name"]), {})[item["way"]] = item
        if label == "step alone":  # what both have
            ours = {key: us for key, us in ours.items() if key in peers}
        if peers:
            lines += [f"Microseconds, and how many times ours a peer takes ({label}):", ""]
            lines += versus(label, ours, peers, ways, titles)
    errors = [f"- {item['name']}: {item['error']}" for item in items if "error" in item]
    return lines + (["Peers that failed:", "", *errors, ""] if errors else [])


def profile_table(launches):
    heads = ["kernel", "us", "MB", "memory %", "occupancy %", "blocks", "threads", "registers"]
    rows = []
    for each in launches:
        scaled = [each.get("ns", 0) / 1e3, each.get("bytes", 0) / 1e6]
        whole = [
            f"{each[name]:.0f}" if name in each else ""
            for name in ("memory_percent", "occupancy_percent", "blocks", "threads", "registers")
        ]
        rows.append([each["kernel"], *map(number, scaled), *whole])
    return table(heads, rows)


def make(args):
    kept = parts_of(args.folder)
    run, parts = kept["run"], kept["parts"]
    peers = read(os.path.join(args.folder, "peers.json"), {"items": []})
    by_name, devices = {}, {}
    for part in parts.values():
        result = part.get("result", {})
        for timing in result.get("timings", []):
            by_name.setdefault(timing["name"], {**timing, "card": part.get("card", "")})
        device = result.get("device") or {}
        if device.get("copy_gb_s") or (device and device.get("name") not in devices):
            devices[device.get("name", part.get("card", ""))] = device
    if "peers" in parts:
        failed = sum("error" in item for item in peers["items"])
        parts["peers"]["result"] = {"passed": len(peers["items"]) - failed, "failed": failed}
    timings = list(by_name.values())
    launches = parts.get("ncu", {}).get("result", {}).get("launches", [])
    versions = {**{key: run[key] for key in ("driver", "nvcc") if run.get(key)}, **peers.get("versions", {})}
    results = {
        **{key: run.get(key, "") for key in ("date", "command", "card", "sources")},
        "versions": versions,
        "devices": devices,
        "parts": {name: {key: value for key, value in part.items() if key != "result"} for name, part in parts.items()},
        "checks": {
            name: {
                key: value
                for key, value in part.get("result", {}).items()
                if key not in ("timings", "launches", "device")
            }
            for name, part in parts.items()
        },
        "timings": timings,
        "peers": peers["items"],
        "profile": launches,
    }
    write(os.path.join(args.folder, "results.json"), results)

    cards = sorted({each["card"] for each in [*timings, *peers["items"]] if each.get("card")})
    facts = ", ".join(f"{name} {value}" for name, value in versions.items() if name != "card")
    copies = [
        f"{device['copy_gb_s']:,.0f} GB/s copied on {name}"
        for name, device in devices.items()
        if device.get("copy_gb_s")
    ]
    copies += [f"{item['gb_s']:,.0f} GB/s by PyTorch" for item in peers["items"] if item.get("gb_s")]
    head = [run.get("card"), facts, run.get("date"), *copies, f"`{run.get('command', '')}`"]
    lines = ["; ".join(filter(None, head)), ""]
    if len(cards) > 1:
        lines += [f"Times are of different cards ({', '.join(cards)}): ratios between them say little.", ""]
    lines += (
        checks_table(parts, run.get("sources"))
        + comparisons(timings, peers["items"])
        + timings_table(timings)
        + profile_table(launches)
    )
    text = "\n".join(lines)
    write(os.path.join(args.folder, "results.md"), text)
    if not args.quiet:
        print(text)


def main():
    parser = argparse.ArgumentParser()
    verbs = parser.add_subparsers(dest="verb", required=True)

    def verb(name, work, *arguments):
        each = verbs.add_parser(name)
        each.set_defaults(work=work)
        for argument in arguments:
            each.add_argument(argument)
        return each

    verb("table", make, "folder").add_argument("--quiet", action="store_true")
    recorded = verb("record", record, "folder", "part", "state")
    recorded.add_argument("seconds", type=int)
    recorded.add_argument("--log")
    recorded.add_argument("--ncu", default="")
    recorded.add_argument("--check", nargs="*", default=[])
    verb("resume", resume, "folder", "earlier")
    for each in (recorded, verb("done", done, "folder", "part"), verb("run", run_facts, "folder")):
        each.add_argument("--about", nargs="*", default=[])
    verb("golden", golden, "fixture", "file")
    args = parser.parse_args()
    args.work(args)


if __name__ == "__main__":
    main()
