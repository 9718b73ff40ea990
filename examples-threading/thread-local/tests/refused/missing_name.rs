// error[E0425]: `sleep` was never imported. That is found before any thread could die of it.

pub fn handle(request: u32) -> String {
    sleep(request);
    format!("request {request} handled")
}
