"""One side of a pair on libtorrent: `seed FOLDER TORRENT` or `get FOLDER TORRENT PORT`."""
import json
import resource
import signal
import sys
import time

import libtorrent as lt


def say(**line):
    print(json.dumps(line), flush=True)


def cpu():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


role, folder, torrent = sys.argv[1:4]
session = lt.session({
    "listen_interfaces": "127.0.0.1:0",
    "enable_dht": False,
    "enable_lsd": False,
    "enable_upnp": False,
    "enable_natpmp": False,
    "enable_outgoing_utp": False,
    "enable_incoming_utp": False,
    "out_enc_policy": 2,
    "in_enc_policy": 2,
    "allow_multiple_connections_per_ip": True,
    "connection_speed": 100,
})
parameters = lt.add_torrent_params()
parameters.ti = lt.torrent_info(torrent)
parameters.save_path = folder
if role == "seed":
    parameters.flags |= lt.torrent_flags.seed_mode
handle = session.add_torrent(parameters)
if role == "seed":
    while not handle.status().is_seeding:
        time.sleep(0.02)
    before = cpu()
    say(port=session.listen_port())

    def stop(*_):
        say(cpu=cpu() - before, rss=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        sys.exit(0)

    signal.signal(signal.SIGTERM, stop)
    while True:
        time.sleep(1)
else:
    while str(handle.status().state) in ("checking_files", "checking_resume_data"):
        time.sleep(0.01)
    before = cpu()
    started = time.monotonic()
    handle.connect_peer(("127.0.0.1", int(sys.argv[4])))
    while not handle.status().is_seeding:
        time.sleep(0.01)
    say(seconds=time.monotonic() - started, cpu=cpu() - before,
        rss=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
