"""A libtorrent session for tests: `seed` or `download` one .torrent on the loopback until told to stop.

usage: libtorrent-client.py seed|download TORRENT FOLDER [HOST:PORT ...]
Prints `listening PORT`, then `complete` when every piece is here. Ends when standard input closes.
"""
import sys
import threading
import libtorrent as lt

mode, torrent, folder, peers = sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:]
session = lt.session({
    'listen_interfaces': '127.0.0.1:0',
    'enable_dht': False, 'enable_lsd': False, 'enable_upnp': False, 'enable_natpmp': False,
    'enable_incoming_utp': False, 'enable_outgoing_utp': False,
    'allow_multiple_connections_per_ip': True, 'announce_to_all_trackers': True,
    'alert_mask': 0,
})
params = lt.add_torrent_params()
params.ti = lt.torrent_info(torrent)
params.save_path = folder
if mode == 'seed':
    params.flags |= lt.torrent_flags.seed_mode
handle = session.add_torrent(params)
print('listening', session.listen_port(), flush=True)
for peer in peers:
    host, port = peer.rsplit(':', 1)
    handle.connect_peer((host, int(port)))

stop = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
told = False
while not stop.wait(0.05):
    if not told and handle.status().is_seeding:
        told = True
        print('complete', flush=True)
