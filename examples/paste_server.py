#!/usr/bin/python3
"""The server of 2009: Paste answers each request with 10,000 stars.

It writes the header and the body of a response separately, and Nagle's algorithm
holds the end of the body back until the client has acknowledged the beginning.
--nodelay turns Nagle's algorithm off, as the fix of 2009 did.

    /usr/bin/python3 examples/paste_server.py 8092
    /usr/bin/python3 examples/paste_server.py 8092 --nodelay

Paste is in Debian's package python3-paste.
"""

import argparse
import time

from paste import httpserver

STARS = b"*" * 10000


def application(environ, start_response):
    start_response("200 OK", [
        ("Content-Type", "text/plain"),
        ("Content-Length", str(len(STARS))),
    ])
    return [STARS]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("port", type=int)
    parser.add_argument("--nodelay", action="store_true", help="turn Nagle's algorithm off")
    parser.add_argument("--delay", type=float, default=0, help="seconds before each response")
    args = parser.parse_args()

    def delayed(environ, start_response):
        time.sleep(args.delay)
        return application(environ, start_response)

    class Handler(httpserver.WSGIHandler):
        disable_nagle_algorithm = args.nodelay

    httpserver.serve(
        delayed if args.delay else application,
        host="127.0.0.1",
        port=args.port,
        handler=Handler,
        protocol_version="HTTP/1.1",  # with keep-alive
        use_threadpool=False,  # a thread for each connection
        daemon_threads=True,
        request_queue_size=128,
    )


if __name__ == "__main__":
    main()
