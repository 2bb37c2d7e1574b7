#!/usr/bin/env python3
"""Checks a Nachweis log and receipts with aics-tlog, a verifier that this project did not write.

It shares no code with the project: it reads the checkpoint, every tile and every entry bundle over
HTTP, and receipts from files, and trusts nothing but the policy file. Of a receipt it knows only what
C2SP tlog-proof says, and that the `extra` data begins with version 1 and the leaf's length and bytes.
"""

import argparse
import base64
import struct
import sys

from aics_tlog import (
    HttpTileReader,
    VerifiedTileReader,
    WitnessPolicy,
    audit_tiles,
    consistency_proof_from_tiles,
    inclusion_proof_from_tiles,
    parse_checkpoint,
    parse_note,
    parse_vkey,
    verify_checkpoint,
    verify_consistency,
    verify_leaf_inclusion,
)


class Refused(Exception):
    """What the independent verifier does not accept."""


def read_policy(path):
    """The C2SP tlog-policy as (log keys, witness policy): one group, which is the quorum."""
    logs, witnesses, groups, quorum = [], {}, {}, None
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            match line.split("#")[0].split():
                case []:
                    pass
                case ["log", key, *_]:
                    logs.append(parse_vkey(key))
                case ["witness", name, key, *_]:
                    witnesses[name] = parse_vkey(key)
                case ["group", name, least, *members]:
                    groups[name] = (int(least), members)
                case ["quorum", name]:
                    quorum = name
                case _:
                    raise Refused(f"policy line {line!r}")
    least, members = groups[quorum]
    policy = WitnessPolicy(quorum=least, witnesses=tuple(witnesses[name] for name in members))
    return logs, policy


def check_note(data, logs, policy):
    """Size and root of a checkpoint that a log of the policy signed and a quorum cosigned."""
    note = parse_note(data)
    ours = [key for key in logs if any((s.name, s.key_id) == (key.name, key.key_id) for s in note.signatures)]
    if len(ours) != 1:
        raise Refused(f"{len(ours)} log keys of the policy signed the checkpoint, 1 is expected")
    result = verify_checkpoint(note, ours[0], expected_origin=ours[0].name, policy=policy)
    if not result.ok:
        raise Refused(f"checkpoint: {result.error}")
    return parse_checkpoint(note.text)


def check_is_strict(data, logs, policy):
    """The check has teeth: without its last cosignatures, and with another root, a checkpoint is refused."""
    text = data.decode()
    head, _, tail = text.partition("\n\n")
    lines = [line for line in tail.splitlines() if line]
    log_line = [line for line in lines if line.split()[1] == logs[0].name]
    few = [line for line in lines if line not in log_line][: policy.quorum - 1]
    origin, size, root = head.splitlines()
    other = base64.b64encode(bytes(32)).decode()
    for forged in (
        "\n".join([head, ""] + log_line + few) + "\n",
        "\n".join([origin, size, other, ""] + lines) + "\n",
    ):
        try:
            check_note(forged.encode(), logs, policy)
        except Refused:
            continue
        raise Refused("a forged checkpoint was accepted: this check proves nothing")


def read_receipt(path):
    """A tlog-proof: leaf, index, path, note."""
    with open(path, "rb") as file:
        head, _, note = file.read().partition(b"\n\n")
    lines = head.decode("utf-8").split("\n")
    if lines[0] != "c2sp.org/tlog-proof@v1" or not lines[1].startswith("extra ") or not lines[2].startswith("index "):
        raise Refused(f"{path} is not a tlog-proof with extra data")
    extra = base64.b64decode(lines[1][6:], validate=True)
    version, length = struct.unpack_from("<BI", extra)
    if version != 1:
        raise Refused(f"{path}: extra data of version {version}")
    leaf = extra[5 : 5 + length]
    hashes = [base64.b64decode(line, validate=True) for line in lines[3:]]
    return leaf, int(lines[2][6:]), hashes, note


def check_receipt(path, logs, policy, log, newest):
    """Checkpoint, inclusion, the very entry that the log serves, and that the log only grew since."""
    leaf, index, hashes, note = read_receipt(path)
    then = check_note(note, logs, policy)
    if not verify_leaf_inclusion(leaf, index, then.size, hashes, then.root):
        raise Refused(f"{path}: the inclusion proof does not verify")
    if verify_leaf_inclusion(leaf + b"\0", index, then.size, hashes, then.root):
        raise Refused(f"{path}: another leaf verifies too")
    if log.entry(index) != leaf:
        raise Refused(f"{path}: the log has another entry at {index}")
    proof = consistency_proof_from_tiles(log, then.size, newest.size)
    if not verify_consistency(then.size, newest.size, then.root, newest.root, proof):
        raise Refused(f"{path}: size {then.size} is not consistent with {newest.size}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--log-url", required=True, help="prefix of checkpoint and tiles")
    parser.add_argument("--policy", required=True, help="C2SP tlog-policy")
    parser.add_argument("receipts", nargs="*", help="tlog-proof files")
    arguments = parser.parse_args()
    logs, policy = read_policy(arguments.policy)
    reader = HttpTileReader(arguments.log_url)
    data = reader.read_checkpoint()
    newest = check_note(data, logs, policy)
    check_is_strict(data, logs, policy)
    audited = audit_tiles(reader, newest.size, newest.root, entries=True)
    log = VerifiedTileReader(reader, newest.size, newest.root)
    for index in {0, newest.size // 2, newest.size - 1}:
        proof = inclusion_proof_from_tiles(log, index, newest.size)
        if not verify_leaf_inclusion(log.entry(index), index, newest.size, proof, newest.root):
            raise Refused(f"the inclusion proof of entry {index} does not verify")
    for path in arguments.receipts:
        check_receipt(path, logs, policy, log, newest)
    print(
        f"size {newest.size}: quorum {policy.quorum} of {len(policy.witnesses)}, {audited.tiles} tiles, "
        f"{audited.bundles} bundles, {len(arguments.receipts)} receipts accepted by aics-tlog"
    )


if __name__ == "__main__":
    try:
        main()
    except (Refused, ValueError, OSError, LookupError) as error:
        print(f"refused: {error}", file=sys.stderr)
        sys.exit(1)
