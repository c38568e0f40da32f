"""A server that is told to stop: what was asked is answered."""

import http.client
import signal
import threading
import time


def connect(server):
    connection = http.client.HTTPSConnection("localhost", server.port, context=server.tls(), timeout=20)
    connection.connect()
    return connection


def ask(connection):
    connection.request("GET", "/healthz")
    answer = connection.getresponse()
    assert answer.read() == b"ok"
    return answer


def test_a_request_that_comes_while_the_server_stops_is_answered_and_told_that_it_was_the_last(make_server):
    server = make_server()
    # One in the middle of its work, one that has asked for nothing yet, and one that will never ask again.
    working, fresh, idle = connect(server), connect(server), connect(server)
    assert ask(working).getheader("Connection") != "close" and ask(idle).getheader("Connection") != "close"
    stopping = threading.Thread(target=server.stop)
    stopping.start()
    time.sleep(0.3)
    assert ask(working).getheader("Connection") == "close"
    assert ask(fresh).getheader("Connection") == "close"
    stopping.join()
    # The idle one was closed as TLS closes: an end, and no reset.
    assert idle.sock.recv(1) == b""
    assert server.process.returncode == 0


def test_a_stop_without_a_request_under_way_does_not_wait_for_idle_clients(make_server):
    server = make_server()
    idle = connect(server)
    ask(idle)
    server.process.send_signal(signal.SIGTERM)
    # Well under the ten seconds that a stream in flight is given.
    server.process.wait(timeout=8)
    assert idle.sock.recv(1) == b""
