"""Holds a listening socket, as systemd does, while the program that serves it comes and goes.

Prints the port; for each line of its standard input, a command as a JSON list, starts it with the socket
(sd_listen_fds), and prints `started PID` and, when it has ended, `ended CODE`.
"""
import json
import os
import socket
import sys

listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
print(listener.getsockname()[1], flush=True)
for line in sys.stdin:
    command = json.loads(line)
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(2, 1)
        os.dup2(listener.fileno(), 3)
        os.set_inheritable(3, True)
        os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES="http")
        os.execv(command[0], command)
    print("started", child, flush=True)
    print("ended", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
