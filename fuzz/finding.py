"""What a fuzzer run ends with when something broke."""

import re
import subprocess


class Finding(Exception):  # noqa: N818  # the field's word for it
    """A fuzzer broke its target, or could not be run."""


def executions(command: list[str], name: str) -> int:
    """Run a libFuzzer command to its end; return how many inputs it tried.

    Raises
    ------
    Finding
        It stopped early; the message holds the end of its output, which names the file with the input.
    """
    done = subprocess.run(command, check=False, capture_output=True, text=True, errors="replace")
    counted = re.search(r"^Done (\d+) runs", done.stderr, re.MULTILINE)
    if done.returncode or not counted:
        message = f"{name} broke (exit status {done.returncode}):\n{(done.stderr + done.stdout)[-6000:]}"
        raise Finding(message)
    return int(counted[1])
