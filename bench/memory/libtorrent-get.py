"""libtorrent as the downloader: `libtorrent-get.py FOLDER TORRENT PORT,...`. Prints a JSON line when it has all."""
import json
import sys
import time

import libtorrent as lt

folder, torrent, ports = sys.argv[1:4]
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
handle = session.add_torrent(parameters)
while str(handle.status().state) in ("checking_files", "checking_resume_data"):
    time.sleep(0.01)
started = time.monotonic()
for port in ports.split(","):
    handle.connect_peer(("127.0.0.1", int(port)))
peers = 0
while not handle.status().is_seeding:
    peers = max(peers, handle.status().num_peers)
    time.sleep(0.05)
print(json.dumps({"seconds": time.monotonic() - started, "peers": peers}), flush=True)
