//! Routes that cannot be registered without saying who may call them.

use axum::{
    Router,
    extract::{Request, State},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use utoipa::openapi::{
    OpenApi, Ref, RefOr, Response as ApiResponse,
    extensions::ExtensionsBuilder,
    path::{Operation, PathItem},
    response::ResponseBuilder,
    security::SecurityRequirement,
};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter, UtoipaMethodRouterExt};

use super::Problem;
use crate::{
    auth::{Access, AgentCaller, Caller, ClientAddress, Permission, Role},
    state::AppState,
};

/// The routes of a part of the API, each with its [`Access`].
///
/// ```text
/// ApiRouter::new()
///     .route(Access::Needs(Permission::UsersManage), routes!(list, create))
///     .route(Access::Public, routes!(health))
/// ```
///
/// `routes!` takes handlers of one path and different methods. There is no other way in, so a route without a declared
/// access does not compile; what is declared also stands in the OpenAPI document.
#[derive(Default)]
pub struct ApiRouter {
    routes: Vec<(Access, UtoipaMethodRouter<AppState>)>,
}

impl ApiRouter {
    /// No routes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds handlers of one path that need the same access.
    pub fn route(mut self, access: Access, handlers: UtoipaMethodRouter<AppState>) -> Self {
        self.routes.push((access, handlers));
        self
    }

    /// Adds another part's routes.
    pub fn merge(mut self, other: Self) -> Self {
        self.routes.extend(other.routes);
        self
    }

    /// The document that describes the routes.
    pub fn openapi(self, document: OpenApi) -> OpenApi {
        let start = OpenApiRouter::<AppState>::with_openapi(document);
        self.routes
            .into_iter()
            .fold(start, |router, (access, handlers)| router.routes(describe(access, handlers)))
            .into_openapi()
    }

    /// The routes with their guards in front.
    pub fn guarded(self, state: &AppState) -> Router<AppState> {
        let start = OpenApiRouter::<AppState>::default();
        let (router, _) = self
            .routes
            .into_iter()
            .fold(start, |router, (access, handlers)| {
                let guard = middleware::from_fn_with_state((access, state.clone()), guard);
                router.routes(UtoipaMethodRouterExt::layer(handlers, guard))
            })
            .split_for_parts();
        router
    }
}

/// Lets through only who may pass, and tells the handler who it is.
async fn guard(
    State((access, state)): State<(Access, AppState)>,
    mut request: Request,
    next: Next,
) -> Response {
    match admit(access, &state, &mut request).await {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

async fn admit(access: Access, state: &AppState, request: &mut Request) -> Result<(), Problem> {
    let address = request.extensions().get::<ClientAddress>().copied();
    match access {
        Access::Public => {}
        Access::Needs(permission) => {
            let caller = Caller::find(state, request.headers(), address).await?;
            if !caller.may(permission) {
                return Err(refusal(&caller, permission));
            }
            request.extensions_mut().insert(caller);
        }
        Access::Agent => {
            let agent = AgentCaller::find(state, request.headers(), address).await?;
            request.extensions_mut().insert(agent);
        }
    }
    Ok(())
}

fn refusal(caller: &Caller, permission: Permission) -> Problem {
    let role = permission.least_role();
    if caller.role >= role {
        return Problem::forbidden(format!("This API key lacks the scope {permission}"));
    }
    match role {
        Role::Admin => Problem::forbidden("Admin access required"),
        role => Problem::forbidden(format!(
            "This needs the role {role} or a stronger one; yours is {}",
            caller.role
        )),
    }
}

/// Adds to the document what follows from the access, so that no handler has to repeat it.
fn describe(
    access: Access,
    (schemas, mut paths, methods): UtoipaMethodRouter<AppState>,
) -> UtoipaMethodRouter<AppState> {
    for item in paths.paths.values_mut() {
        for operation in operations(item) {
            describe_operation(access, operation);
        }
    }
    (schemas, paths, methods)
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.put, &mut item.post, &mut item.delete, &mut item.patch].into_iter().flatten()
}

fn describe_operation(access: Access, operation: &mut Operation) {
    let none: [&str; 0] = [];
    let (security, who) = match access {
        Access::Public => (vec![], "public".to_owned()),
        Access::Agent => (vec![SecurityRequirement::new("agent", none)], "agent".to_owned()),
        Access::Needs(permission) => {
            let ways = ["session", "bearer", "api_key"];
            (ways.map(|way| SecurityRequirement::new(way, none)).to_vec(), permission.to_string())
        }
    };
    operation.extensions = Some(ExtensionsBuilder::new().add("x-permission", who).build());
    if access == Access::Public {
        operation.security = Some(vec![]);
        return;
    }
    operation.security = Some(security);
    let refusals = [("401", "Who calls is not known"), ("403", "The caller may not do this")];
    for (status, text) in refusals {
        operation.responses.responses.entry(status.to_owned()).or_insert_with(|| problem_response(text));
    }
}

fn problem_response(text: &str) -> RefOr<ApiResponse> {
    let schema = Ref::from_schema_name("Problem");
    let content = utoipa::openapi::ContentBuilder::new().schema(Some(schema)).build();
    ResponseBuilder::new().description(text).content(super::problem::MEDIA_TYPE, content).build().into()
}
