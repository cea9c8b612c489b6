"""The programs that send requests and measure: h2load and perf_analyzer."""
