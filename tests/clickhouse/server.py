"""ClickHouse's HTTP interface over chdb, its engine as a library: as much of it as the gateway uses.

    server.py PORT DIRECTORY USER PASSWORD

Prints a line when it listens. A POST to `/lose` has the next INSERT carried out and not answered.
"""

import re
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

from chdb.session import Session

PORT, DIRECTORY, USER, PASSWORD = int(sys.argv[1]), *sys.argv[2:5]
STATUS = {60: 404, 81: 404, 516: 403}

session = Session(DIRECTORY)
one_at_a_time = threading.Lock()
lose = threading.Event()


def carry_out(parameters: dict[str, str], body: str) -> str:
    """The body is the statement, or the data of the one in `query`; all other parameters are settings."""
    statement = parameters.pop("query", None)
    if statement is None:
        statement = body
    else:
        settings = ", ".join(f"{name} = '{value}'" for name, value in parameters.items())
        statement = statement.replace(" FORMAT ", f" SETTINGS {settings} FORMAT ", 1) + "\n" + body
    with one_at_a_time:
        return str(session.query(statement, "TabSeparated"))


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"] or 0)).decode()
        address = urlsplit(self.path)
        if address.path == "/lose":
            lose.set()
            return self.answer(200, "")
        if (self.headers["x-clickhouse-user"], self.headers["x-clickhouse-key"]) != (USER, PASSWORD):
            return self.refuse(516, "Authentication failed")
        try:
            answer = carry_out(dict(parse_qsl(address.query)), body)
        except Exception as error:
            code = re.search(r"Code: (\d+)", str(error))
            return self.refuse(int(code[1]) if code else 1002, str(error))
        if "INSERT" in address.query and lose.is_set():
            lose.clear()
            self.close_connection = True
            return
        self.answer(200, answer)

    def refuse(self, code: int, text: str):
        self.answer(STATUS.get(code, 500), text, {"x-clickhouse-exception-code": str(code)})

    def answer(self, status: int, text: str, headers: dict[str, str] = {}):
        body = text.encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", PORT), Handler)
print("listening", flush=True)
server.serve_forever()
