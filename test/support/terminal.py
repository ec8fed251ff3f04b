"""Runs a command in a terminal of its own: python3 terminal.py COLUMNS COMMAND...

What the terminal shows comes on stdout, what comes on stdin is typed into it, and the exit code is the command's.
"""

import fcntl
import os
import pty
import select
import struct
import sys
import termios

columns, command = int(sys.argv[1]), sys.argv[2:]
pid, terminal = pty.fork()
if pid == 0:
    fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    os.execvp(command[0], command)
inputs = [terminal, 0]
while True:
    for source in select.select(inputs, [], [])[0]:
        try:
            data = os.read(source, 65536)
        except OSError:  # the other end is closed
            data = b""
        if source == 0:
            if data:
                os.write(terminal, data)
            else:
                inputs.remove(0)
        elif data:
            os.write(1, data)
        else:
            sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) % 256)
