"""Unpacks chosen members of a zip archive (a wheel), streaming, with a check of every name and CRC.

usage: unpack.py ARCHIVE DESTINATION PREFIX...

Prints one line "DONE TOTAL" (bytes) as it goes. Exits 3 with a sentence on stderr when the archive is
damaged, holds an unsafe name, or lacks a prefix. Nothing is written before all names have been checked.
"""

import os
import stat
import sys
import zipfile

CHUNK = 1 << 20
REPORT_EVERY = 16 << 20


def refuse(reason):
    sys.stderr.write(reason + "\n")
    sys.exit(3)


def check_name(info):
    parts = info.filename.split("/")
    unsafe = (
        info.filename.startswith("/")
        or ".." in parts
        or "\\" in info.filename
        or ":" in parts[0]
        or "\0" in info.filename
    )
    if unsafe:
        refuse("it holds the unsafe name %r" % info.filename)
    if stat.S_ISLNK(info.external_attr >> 16):
        refuse("it holds the symbolic link %r" % info.filename)


def unpack(archive, destination, prefixes):
    with zipfile.ZipFile(archive) as wheel:
        members = wheel.infolist()
        for info in members:
            check_name(info)
        for prefix in prefixes:
            if not any(info.filename.startswith(prefix) for info in members):
                refuse("it holds no %r" % prefix)
        wanted = [
            info
            for info in members
            if not info.is_dir() and any(info.filename.startswith(prefix) for prefix in prefixes)
        ]
        total = sum(info.file_size for info in wanted)
        done = 0
        reported = 0
        for info in wanted:
            path = os.path.join(destination, *info.filename.split("/"))
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with wheel.open(info) as source, open(path, "wb") as target:
                while True:
                    block = source.read(CHUNK)
                    if not block:
                        break
                    target.write(block)
                    done += len(block)
                    if done - reported >= REPORT_EVERY:
                        reported = done
                        print(done, total, flush=True)
            if (info.external_attr >> 16) & 0o111:
                os.chmod(path, 0o755)
        print(done, total, flush=True)


if __name__ == "__main__":
    try:
        unpack(sys.argv[1], sys.argv[2], sys.argv[3:])
    except (zipfile.BadZipFile, EOFError, zipfile.zlib.error) as error:
        refuse("it is damaged: %s" % error)
    except OSError as error:
        refuse(str(error))
