"""The site over HTTP: read only, answered from tables and by ranged reads from shards, one thread a request."""

from __future__ import annotations

from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from urllib.parse import unquote, urlsplit

from medshards.common.console import say
from medshards.shards.browse.site import Answer, Site
from medshards.shards.read.corpus import BadSample, CorpusError

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


def open_server(site: Site, host: str, port: int) -> ThreadingHTTPServer:
    """A server that is bound (port 0: any that is free) and serves when told to. Raises OSError."""

    class Handler(_Handler):
        pass

    Handler.site = site
    Handler.local = host == "localhost" or ip_address(host).is_loopback
    return ThreadingHTTPServer((host, port), Handler)


class _Handler(BaseHTTPRequestHandler):
    site: Site
    local: (
        bool  # no name but this machine's own is answered, so that no foreign page can ask through a browser
    )
    server_version, sys_version = "medshards", ""

    def do_GET(self) -> None:
        self._reply(with_body=True)

    def do_HEAD(self) -> None:
        self._reply(with_body=False)

    def _reply(self, with_body: bool) -> None:
        status, answer = self._answer()
        self.send_response(status)
        for name, value in {
            **HEADERS,
            "Content-Security-Policy": answer.policy,
            "Content-Type": answer.kind,
            "Content-Length": str(len(answer.body)),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(answer.body)

    def _answer(self) -> tuple[HTTPStatus, Answer]:
        asked = urlsplit(f"//{self.headers.get('Host', '')}").hostname or ""
        if self.local and asked not in ("localhost", "127.0.0.1", "::1"):
            return HTTPStatus.FORBIDDEN, _plain("this server answers to localhost alone")
        try:
            answer = self.site.get(unquote(urlsplit(self.path).path).removeprefix("/"))
        except (BadSample, CorpusError, OSError) as error:
            say(str(error))
            return HTTPStatus.INTERNAL_SERVER_ERROR, _plain(
                "the corpus cannot be read here; see the terminal"
            )
        if answer is None:
            return HTTPStatus.NOT_FOUND, _plain("not found")
        return HTTPStatus.OK, answer

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing of every request."""


def _plain(text: str) -> Answer:
    return Answer(f"{text}\n".encode(), "text/plain; charset=utf-8")
