#!/usr/bin/env python3
"""Runs the same command lines with Docker's command line and with ours, against one engine, and prints what differs in
exit code, standard output and standard error.

    compare.py --ours PATH --docker PATH --host unix:///… CORPUS…

The engine must be one that nobody else uses: all of its containers are removed between the sections of a corpus. It
needs the image `busybox`. A corpus has one shell line a line; an empty line or `# title` begins a section, which runs
whole on one side and then on the other; `!` before a line runs it as it is. Exit code 1 if anything differs.
"""
import argparse, difflib, os, re, subprocess, sys, tempfile

NORMAL = [
    (r"\b[0-9a-f]{64}\b", "<id>"),
    (r"\b[0-9a-f]{14}…", "<cut id>"),
    (r"\b[0-9a-f]{12}\b", "<short id>"),
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?( ?[+-]\d{4} \w+|Z)?", "<time>"),
    (r"(Less than a second|About an? \w+|\d+ (second|minute|hour)s?) ago", "<ago>"),
    (r"Up (Less than a second|About an? \w+|\d+ (second|minute|hour)s?)", "Up <long>"),
    (r"docker-import-\d+", "docker-import-N"),
    (r'"(time|timeNano|Pid)": ?\d+', r'"\1":N'),
    (r"0xc[0-9a-f]{9}", "<pointer>"),
    # Ages have other widths from one second to the next, and columns follow them.
    (r" {2,}", "  "),
]


def normal(text):
    for pattern, name in NORMAL:
        text = re.sub(pattern, name, text)
    return text


def run(directory, host, line):
    env = dict(os.environ, PATH=f"{directory}:{os.environ['PATH']}", DOCKER_HOST=host, LC_ALL="C")
    try:
        done = subprocess.run(["bash", "-c", line], env=env, stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    except subprocess.TimeoutExpired:
        return "timeout", "", ""
    return done.returncode, normal(done.stdout.decode("utf8", "replace")), normal(done.stderr.decode("utf8", "replace"))


def clean(docker, host):
    ids = subprocess.run([docker, "-H", host, "ps", "-aq"], capture_output=True, text=True).stdout.split()
    if ids:
        subprocess.run([docker, "-H", host, "rm", "-f", "-v", *ids], capture_output=True)


def sections(path):
    section = []
    for line in open(path):
        line = line.rstrip("\n")
        if line.startswith("#") or not line.strip():
            if section:
                yield section
            section = []
        elif not re.match(r"(GET|POST|PUT|HEAD|DELETE) ", line):
            section.append(line.removeprefix("!"))
    if section:
        yield section


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--ours", required=True)
    parser.add_argument("--docker", required=True)
    parser.add_argument("--host", required=True)
    parser.add_argument("corpus", nargs="+")
    args = parser.parse_args()
    lines = differing = 0
    with tempfile.TemporaryDirectory() as scratch:
        sides = {}
        for side, program in (("docker", args.docker), ("ours", args.ours)):
            os.mkdir(f"{scratch}/{side}")
            os.symlink(os.path.abspath(program), f"{scratch}/{side}/docker")
            sides[side] = f"{scratch}/{side}"
        os.environ["SCRATCH"] = scratch
        for section in (section for path in args.corpus for section in sections(path)):
            answers = {}
            for side, directory in sides.items():
                clean(args.docker, args.host)
                answers[side] = [run(directory, args.host, line) for line in section]
            for line, docker, ours in zip(section, answers["docker"], answers["ours"]):
                lines += 1
                if docker == ours:
                    continue
                differing += 1
                print("==", line)
                for what, a, b in zip(("exit code", "stdout", "stderr"), docker, ours):
                    if a != b:
                        diff = difflib.unified_diff(str(a).split("\n"), str(b).split("\n"), lineterm="", n=0)
                        print(f"  {what}:", *(f"    {part[:300]}" for part in list(diff)[2:16]), sep="\n")
        clean(args.docker, args.host)
    print(f"{lines} lines, {differing} differ")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
