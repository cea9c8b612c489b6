from rnnserve.load.local_server import ServerUsage, read_usage


def process(folder, pid, session, state="S", times="10 5 2 1", kib=1024):
    own = folder / str(pid)
    own.mkdir()
    (own / "stat").write_text(f"{pid} (a (b) c) {state} 1 1 {session} 0 -1 0 0 0 0 0 {times} 20 0 1\n")
    (own / "smaps_rollup").write_text(f"1-2 ---p 0 00:00 0 [rollup]\nRss: 9999 kB\nPss:  {kib} kB\nPss_Anon: 7 kB\n")


def test_usage_is_that_of_all_processes_of_the_session(tmp_path, monkeypatch):
    monkeypatch.setattr("os.sysconf", {"SC_CLK_TCK": 100}.get)
    process(tmp_path, 7, 7)
    process(tmp_path, 8, 7, times="82 0 0 0", kib=2048)
    process(tmp_path, 9, 7, state="Z", times="500 0 0 0")
    process(tmp_path, 10, 10, times="500 0 0 0")
    (tmp_path / "11").mkdir()  # has just ended
    assert read_usage(7, tmp_path) == ServerUsage(1.0, 3 << 20)
    assert read_usage(12, tmp_path) is None
    assert read_usage(7, tmp_path / "nowhere") is None
