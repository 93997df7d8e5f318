"""One libtorrent member of the fan-out bench.

usage: libtorrent-member.py seed|download HOST:PORT FOLDER TORRENT,… HOST:PORT,…
Prints `ready`; a downloader then prints `complete` when it has everything and goes on seeding.
Ends when standard input closes, with `uploaded BYTES` (payload).
"""
import sys
import threading
import libtorrent as lt

mode, listen, folder, torrents, peers = sys.argv[1:6]
settings = {
    'listen_interfaces': listen,
    'enable_dht': False, 'enable_lsd': False, 'enable_upnp': False, 'enable_natpmp': False,
    'enable_incoming_utp': False, 'enable_outgoing_utp': False,
    'connection_speed': 200, 'unchoke_slots_limit': -1,
}
session = lt.session(settings)
handles = []
for torrent in torrents.split(','):
    params = lt.add_torrent_params()
    params.ti = lt.torrent_info(torrent)
    params.save_path = folder
    if mode == 'seed':
        params.flags |= lt.torrent_flags.seed_mode
    handle = session.add_torrent(params)
    for peer in peers.split(','):
        if peer != listen:
            host, port = peer.rsplit(':', 1)
            handle.connect_peer((host, int(port)))
    handles.append(handle)
if mode == 'seed':
    print('ready', flush=True)

stop = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
told = False
while not stop.wait(0.05):
    if not told and mode != 'seed' and all(handle.status().is_seeding for handle in handles):
        told = True
        print('complete', flush=True)
print('uploaded', sum(handle.status().total_payload_upload for handle in handles), flush=True)
