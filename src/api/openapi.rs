//! The API's routes and its description, made of one list: OpenAPI 3.1, from the types that are read and written.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::{MethodFilter, on};
use utoipa::openapi::response::Response;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{ContentBuilder, HttpMethod, Ref, RefOr, ResponseBuilder};
use utoipa::{IntoResponses, Modify, OpenApi, Path};

use super::{events, people, rooms, say};
use crate::problem::{Body, PROBLEM};
use crate::rooms::feed::RoomEvent;
use crate::server::Server;

macro_rules! api {
    ($($module:ident: $($operation:ident $path:ident),*;)*) => {
        /// Every operation, at its path.
        pub fn operations() -> Router<Arc<Server>> {
            let router = Router::new();
            $($(let router = router.route(&<$module::$path as Path>::path(), on(method::<$module::$path>(), $module::$operation));)*)*
            router
        }

        #[derive(OpenApi)]
        #[openapi(
            info(title = "Switchyard", description = "Rooms, who is in them and what they may do, for applications' back ends.", license(name = "Apache-2.0")),
            paths($($($module::$operation),*),*),
            components(schemas(Body, RoomEvent)),
            security(("token" = [])),
            modifiers(&Bearer),
        )]
        struct Description;
    };
}

// Beside each operation the name that `utoipa` gives its description.
api! {
    rooms: list __path_list, get __path_get, make __path_make, change __path_change, close __path_close,
        bans __path_bans, ban __path_ban, pardon __path_pardon,
        guests __path_guests, admit __path_admit, deny __path_deny;
    people: all __path_all, one __path_one, alter __path_alter, expel __path_expel, relocate __path_relocate, mute __path_mute;
    say: data __path_data, chat __path_chat;
    events: everywhere __path_everywhere, in_room __path_in_room;
}

fn method<P: Path>() -> MethodFilter {
    let filter = |method: HttpMethod| match method {
        HttpMethod::Get => MethodFilter::GET,
        HttpMethod::Put => MethodFilter::PUT,
        HttpMethod::Post => MethodFilter::POST,
        HttpMethod::Patch => MethodFilter::PATCH,
        HttpMethod::Delete => MethodFilter::DELETE,
        _ => unreachable!("no operation has another method"),
    };
    P::methods().into_iter().map(filter).reduce(MethodFilter::or).expect("an operation has a method")
}

/// How to be let in.
struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let mut token = Http::new(HttpAuthScheme::Bearer);
        token.bearer_format = Some("JWT".into());
        token.description = Some("An access token with the role `server` or the grant `manage`.".into());
        document.components.get_or_insert_default().add_security_scheme("token", SecurityScheme::Http(token));
    }
}

/// What every operation may be answered with.
pub struct Refused;

impl IntoResponses for Refused {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let problem = |description: &str| {
            let schema = Ref::from_schema_name("Problem");
            ResponseBuilder::new().description(description).content(PROBLEM, ContentBuilder::new().schema(Some(schema)).build()).build()
        };
        [
            ("400", "A parameter or the body is not what it has to be; `detail` says what is wrong."),
            ("401", "No access token, or one that isn't good."),
            ("403", "The access token doesn't permit this, or nothing does."),
            ("404", "There is no such room, participant or track."),
            ("408", "The body did not come in time."),
            ("413", "The body is too large."),
            ("415", "The body is no `application/json`."),
            ("429", "Requests come too fast."),
            ("500", "The server failed."),
            ("503", "A bound of the server is reached, or it is going down."),
        ]
        .into_iter()
        .map(|(status, description)| (status.to_owned(), problem(description).into()))
        .collect()
    }
}

/// `GET /v1/openapi.json`: nothing in it is a secret.
pub async fn document() -> impl IntoResponse {
    static DOCUMENT: LazyLock<String> = LazyLock::new(|| Description::openapi().to_pretty_json().unwrap_or_default());
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT.as_str())
}
