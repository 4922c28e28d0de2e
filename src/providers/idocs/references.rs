//! Who we are over there: the company behind the token, its employees, their rights. Only questions.

use super::client::{Call, Client, lacking};
use super::ids;
use super::outbox::Page;
use crate::domain::{Failure, FailureClass, FailureKind, Text};
use crate::providers::remote::Nature;
use serde_json::{Value, json};

/// Most rights of one employee that are kept.
const RIGHTS_MAX: usize = 200;

/// The company that a token belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Company {
    /// Its id.
    pub company_id: Option<String>,
    /// Its BIN.
    pub bin: Option<String>,
    /// Its name.
    pub name: Option<String>,
}

/// An employee of the company.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Employee {
    /// Their id.
    pub id: String,
    /// Their IIN.
    pub iin: Option<String>,
    /// Their name.
    pub full_name: Option<String>,
    /// What they are.
    pub position: Option<String>,
}

impl Client {
    /// Tries the token: the company that it belongs to.
    ///
    /// # Errors
    /// Auth if it is refused.
    pub async fn check_token(&self) -> Result<Company, Failure> {
        self.require(Call::CheckToken)?;
        let value = self.post_nothing("/sync/references/company-token").await?.into_value();
        if !value.is_object() {
            return Err(lacking("no_company", Nature::Read, &value, &self.redactor));
        }
        Ok(Company {
            company_id: ids::text_at(&value, "/companyId"),
            bin: ids::text_at(&value, "/companyBin"),
            name: ids::text_at(&value, "/companyName"),
        })
    }

    /// All employees of the company.
    ///
    /// # Errors
    /// `too_many_employees` when the list has more pages than are read.
    pub async fn employees(&self) -> Result<Vec<Employee>, Failure> {
        self.require(Call::Employees)?;
        let query = self.settings.query;
        let mut employees = Vec::new();
        let mut skip: u64 = 0;
        for _ in 0..query.pages_max {
            let body = json!({"skip": skip, "top": query.page_size});
            let value =
                self.post("/sync/references/company-employees", &body, Nature::Read).await?.into_value();
            let page =
                Page::of(&value).ok_or_else(|| lacking("no_list", Nature::Read, &value, &self.redactor))?;
            employees.extend(page.items.iter().filter_map(employee));
            skip += page.items.len() as u64;
            if page.is_last(skip) {
                return Ok(employees);
            }
        }
        let reason = Text::new(
            "В iDocs больше сотрудников, чем читается. Увеличьте idocs.query.pages_max.",
            "iDocs has more employees than are read. Raise idocs.query.pages_max.",
        );
        Err(Failure::new(FailureClass::Permanent, FailureKind::Local, "too_many_employees", reason))
    }

    /// The rights of an employee, as words of the service; their values are not documented.
    ///
    /// # Errors
    /// Permanent if there is no such employee.
    pub async fn permissions(&self, employee: &str) -> Result<Vec<String>, Failure> {
        self.require(Call::Permissions)?;
        let path = format!("/sync/references/company-employees/permission/{}", ids::employee(employee)?);
        let value = self.get(&path).await?.into_value();
        let rights = value.pointer("/accountPermissions").and_then(Value::as_array);
        let words = rights.map(|rights| rights.iter().filter_map(Value::as_str).take(RIGHTS_MAX));
        Ok(words.map(|words| words.map(str::to_owned).collect()).unwrap_or_default())
    }
}

fn employee(value: &Value) -> Option<Employee> {
    Some(Employee {
        id: ids::uuid_at(value, "/id")?,
        iin: ids::text_at(value, "/nationalIdentificationNumber"),
        full_name: ids::text_at(value, "/fullName"),
        position: ids::text_at(value, "/position"),
    })
}
