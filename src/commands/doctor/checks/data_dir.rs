//! The data directory: there, ours, closed to others, on a real disk, with space, and quick to sync.

use super::disk_sync::{self, SyncTimes};
use crate::commands::console::bytes;
use crate::commands::doctor::examination::Examination;
use crate::commands::doctor::finding::{Finding, Notebook};
use crate::commands::offline_store::foreign_owner;
use crate::domain::Text;
use crate::http::operator_token;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

/// What the section is called.
pub fn title() -> Text {
    Text::new("Каталог данных", "Data directory")
}

/// Looks at it.
pub async fn check(examination: &Examination, notes: Notebook) {
    let config = examination.config();
    let (dir, store) = (config.data_dir.clone(), &config.store);
    if !there(&dir, &notes) {
        return;
    }
    notes.add(closed_to_others(&dir));
    notes.extend(token(&dir));
    notes.add(file_system(&dir));
    notes.add(space(&dir, store.min_free_disk.bytes()));
    if let Some(text) = foreign_owner(&dir) {
        return notes.add(Finding::of(crate::commands::doctor::finding::Verdict::Skipped, "writable", text));
    }
    let limit = store.max_sync_latency.as_duration();
    let place = dir.clone();
    match tokio::task::spawn_blocking(move || disk_sync::measure(&place)).await {
        Ok(Ok(times)) => notes.extend([writable(&dir), sync(times, limit)]),
        Ok(Err(error)) => notes.add(not_writable(&dir, &error.to_string())),
        Err(panic) => notes.add(not_writable(&dir, &panic.to_string())),
    }
}

fn there(dir: &Path, notes: &Notebook) -> bool {
    let shown = dir.display();
    if dir.is_dir() {
        return true;
    }
    let make = format!("install -d -m 0700 -o edobridge -g edobridge {shown}");
    let finding = if dir.exists() {
        Finding::problem("data_dir", format!("{shown} — не каталог."), format!("{shown} is not a directory."))
            .fix("Укажите в data_dir другой путь.", "Name another path in data_dir.")
    } else {
        Finding::warning(
            "data_dir",
            format!("Каталога {shown} ещё нет."),
            format!("There is no directory {shown} yet."),
        )
        .fix(
            format!("Создайте его для пользователя службы: {make}. Под systemd это сделает StateDirectory=."),
            format!("Make it for the user of the service: {make}. Under systemd StateDirectory= does that."),
        )
    };
    notes.add(finding);
    false
}

fn mode(path: &Path) -> Option<u32> {
    std::fs::metadata(path).ok().map(|meta| meta.permissions().mode() & 0o7777)
}

fn closed_to_others(dir: &Path) -> Finding {
    let shown = dir.display();
    match mode(dir) {
        Some(mode) if mode & 0o077 == 0 => Finding::ok(
            "permissions",
            format!("{shown} закрыт от других пользователей."),
            format!("{shown} is closed to other users."),
        ),
        Some(mode) => Finding::warning(
            "permissions",
            format!("{shown} открыт другим пользователям (права {mode:04o}), а в нём лежат документы."),
            format!("{shown} is open to other users (mode {mode:04o}), and documents lie in it."),
        )
        .fix(format!("chmod 0700 {shown}"), format!("chmod 0700 {shown}")),
        None => Finding::problem(
            "permissions",
            format!("{shown} не читается."),
            format!("{shown} cannot be read."),
        )
        .fix("Запустите от имени пользователя службы.", "Run this as the user of the service."),
    }
}

/// A line only if the file is open to others: without the file the service makes it.
fn token(dir: &Path) -> Option<Finding> {
    let path = dir.join(operator_token::FILE_NAME);
    let mode = mode(&path).filter(|mode| mode & 0o077 != 0)?;
    let shown = path.display();
    Some(
        Finding::problem(
            "operator_token",
            format!("Токен оператора {shown} читают другие пользователи (права {mode:04o})."),
            format!("The operator token {shown} is readable by other users (mode {mode:04o})."),
        )
        .fix(
            format!("chmod 0600 {shown}; если его могли прочесть, удалите файл и перезапустите службу: будет создан новый."),
            format!("chmod 0600 {shown}; if somebody may have read it, remove the file and restart the service: a new one is made."),
        ),
    )
}

/// Where a file system keeps what it is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Medium {
    Local,
    Network,
    Memory,
    Layer,
    Foreign,
}

/// By the magic number of `statfs(2)`.
fn medium(magic: u64) -> Medium {
    match magic {
        0x6969 | 0x517b | 0xff53_4d42 | 0xfe53_4d42 => Medium::Network,
        0x0102_1994 | 0x8584_58f6 => Medium::Memory,
        0x794c_7630 => Medium::Layer,
        0x6573_5546 | 0x0102_1997 => Medium::Foreign,
        _ => Medium::Local,
    }
}

fn file_system(dir: &Path) -> Finding {
    // the field is a signed word on some machines: only its 32 bits are the magic number
    let magic = rustix::fs::statfs(dir).map(|stat| stat.f_type as u64 & 0xffff_ffff);
    let warning = |ru: &str, en: &str| {
        Finding::warning("file_system", ru, en)
            .fix("Перенесите data_dir на локальный диск.", "Move data_dir to a local disk.")
    };
    match magic.map(medium) {
        Ok(Medium::Local) => {
            Finding::ok("file_system", "Файловая система локальная.", "The file system is a local one.")
        }
        Ok(Medium::Network) => Finding::problem(
            "file_system",
            "Каталог лежит на сетевой файловой системе: она не обещает того, на чём держится хранилище.",
            "The directory lies on a network file system, which does not promise what the store rests on.",
        )
        .fix("Перенесите data_dir на локальный диск.", "Move data_dir to a local disk."),
        Ok(Medium::Memory) => warning(
            "Каталог лежит в памяти: после перезагрузки всё принятое пропадёт.",
            "The directory lies in memory: after a reboot everything accepted is gone.",
        ),
        Ok(Medium::Layer) => warning(
            "Каталог лежит в слое контейнера: вместе с контейнером пропадёт всё принятое. Подключите том.",
            "The directory lies in a layer of a container: everything accepted goes with the container. Mount a volume.",
        ),
        Ok(Medium::Foreign) => warning(
            "Каталог лежит на файловой системе в пространстве пользователя или хост-машины: доходят ли до диска сбросы, неизвестно.",
            "The directory lies on a file system of user space or of the host: whether syncs reach a disk is unknown.",
        ),
        Err(error) => Finding::skipped(
            "file_system",
            format!("Тип файловой системы не узнать: {error}."),
            format!("The type of the file system cannot be told: {error}."),
        ),
    }
}

fn space(dir: &Path, min_free: u64) -> Finding {
    match rustix::fs::statvfs(dir) {
        Ok(stat) => space_of(stat.f_bavail.saturating_mul(stat.f_frsize), min_free),
        Err(error) => Finding::problem(
            "disk_free",
            format!("Свободное место не узнать: {error}."),
            format!("The free space cannot be told: {error}."),
        ),
    }
}

/// Below the minimum nothing is accepted; below four times the minimum that is near.
fn space_of(free: u64, min_free: u64) -> Finding {
    let (shown, min) = (bytes(free), bytes(min_free));
    let (ru, en) = (format!("Свободно {shown}"), format!("{shown} free"));
    let fix = |finding: Finding| {
        finding.fix(
            "Освободите место или перенесите data_dir; что занято — покажет du -sh каталога.",
            "Free some space or move data_dir; du -sh of the directory shows what takes it.",
        )
    };
    if free < min_free {
        fix(Finding::problem(
            "disk_free",
            format!("{ru}, а нужно не меньше {min} (store.min_free_disk): новое не принимается."),
            format!("{en}, and at least {min} are needed (store.min_free_disk): nothing new is accepted."),
        ))
    } else if free < min_free.saturating_mul(4) {
        fix(Finding::warning(
            "disk_free",
            format!("{ru}: до порога {min}, ниже которого новое не принимается, недалеко."),
            format!("{en}: the threshold of {min}, below which nothing new is accepted, is near."),
        ))
    } else {
        Finding::ok("disk_free", format!("{ru}."), format!("{en}."))
    }
}

fn writable(dir: &Path) -> Finding {
    let shown = dir.display();
    Finding::ok("writable", format!("В {shown} можно писать."), format!("{shown} can be written to."))
}

fn not_writable(dir: &Path, error: &str) -> Finding {
    let shown = dir.display();
    Finding::problem(
        "writable",
        format!("В {shown} нельзя писать: {error}."),
        format!("{shown} cannot be written to: {error}."),
    )
    .fix(
        format!("Отдайте каталог пользователю службы: chown -R edobridge: {shown}"),
        format!("Give the directory to the user of the service: chown -R edobridge: {shown}"),
    )
}

fn sync(times: SyncTimes, limit: Duration) -> Finding {
    let rounds = disk_sync::ROUNDS;
    let (p50, p99, most) = (milliseconds(times.p50), milliseconds(times.p99), milliseconds(limit));
    let (ru, en) = (
        format!("Диск подтверждает запись за {p50} мс (медиана), {p99} мс (p99 из {rounds})"),
        format!("The disk confirms a write in {p50} ms (median), {p99} ms (p99 of {rounds})"),
    );
    if times.p99 <= limit {
        return Finding::ok("disk_sync", format!("{ru}."), format!("{en}."));
    }
    Finding::warning(
        "disk_sync",
        format!("{ru}: это медленнее {most} мс (store.max_sync_latency), а каждое событие ждёт такую запись."),
        format!("{en}: that is slower than {most} ms (store.max_sync_latency), and every event waits for such a write."),
    )
    .fix(
        "Перенесите data_dir на SSD, уберите с этого диска тяжёлых соседей или поднимите порог, если так и задумано.",
        "Move data_dir to an SSD, take heavy neighbours off this disk, or raise the threshold if this is intended.",
    )
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64() * 1_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::finding::Verdict;

    #[test]
    fn free_space_is_judged_by_the_threshold_of_the_store() {
        let min = 256 << 20;
        assert_eq!(space_of(min - 1, min).verdict, Verdict::Problem);
        assert_eq!(space_of(min, min).verdict, Verdict::Warning);
        assert_eq!(space_of(min * 4, min).verdict, Verdict::Ok);
    }

    #[test]
    fn a_slow_disk_is_a_warning_with_both_figures() {
        let times = SyncTimes { p50: Duration::from_millis(3), p99: Duration::from_millis(80) };
        let slow = sync(times, Duration::from_millis(50));
        assert_eq!(slow.verdict, Verdict::Warning);
        assert!(slow.text.en.contains("3.0 ms") && slow.text.en.contains("80.0 ms"), "{}", slow.text.en);
        assert_eq!(sync(times, Duration::from_millis(80)).verdict, Verdict::Ok);
    }

    #[test]
    fn network_and_memory_file_systems_are_known_by_their_numbers() {
        assert_eq!(medium(0x6969), Medium::Network);
        assert_eq!(medium(0x0102_1994), Medium::Memory);
        assert_eq!(medium(0xef53), Medium::Local);
    }

    #[test]
    fn a_directory_or_token_that_others_can_read_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let set = |path: &Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap()
        };
        set(dir.path(), 0o750);
        assert_eq!(closed_to_others(dir.path()).verdict, Verdict::Warning);
        set(dir.path(), 0o700);
        assert_eq!(closed_to_others(dir.path()).verdict, Verdict::Ok);
        assert_eq!(token(dir.path()), None);
        let path = dir.path().join(operator_token::FILE_NAME);
        std::fs::write(&path, "t").unwrap();
        set(&path, 0o644);
        assert_eq!(token(dir.path()).map(|finding| finding.verdict), Some(Verdict::Problem));
        set(&path, 0o600);
        assert_eq!(token(dir.path()), None);
    }

    #[test]
    fn an_absent_directory_is_a_warning_and_a_file_in_its_place_a_problem() {
        let dir = tempfile::tempdir().unwrap();
        let notes = Notebook::default();
        assert!(there(dir.path(), &notes) && notes.findings().is_empty());
        assert!(!there(&dir.path().join("absent"), &notes));
        std::fs::write(dir.path().join("file"), "").unwrap();
        assert!(!there(&dir.path().join("file"), &notes));
        let verdicts: Vec<_> = notes.findings().iter().map(|finding| finding.verdict).collect();
        assert_eq!(verdicts, [Verdict::Warning, Verdict::Problem]);
    }
}
